// SPDX-License-Identifier: Apache-2.0

// Package version returns the version of this project. The version that k8s.io/component-base reports is that of
// Kubernetes, on which its libraries switch features. This package must not change it.
package version

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/version"
)

// Get returns the version of this project, such as v0.3.0.
func Get() string {
	own, _ := split(version.Get().GitVersion)
	return own
}

// Kubernetes returns the version of the Kubernetes libraries.
func Kubernetes() string {
	_, kubernetes := split(version.Get().GitVersion)
	return kubernetes
}

// split parses the version that hack/version-ldflags.sh sets: that of Kubernetes with this project's as its build
// metadata (v1.37.2+v0.3.0). The default is v0.0.0-dev.
func split(stamp string) (own, kubernetes string) {
	kubernetes, own, ok := strings.Cut(stamp, "+v")
	if !ok {
		kubernetes, _, _ = strings.Cut(stamp, "+")
		return "v0.0.0-dev", kubernetes
	}
	return "v" + own, kubernetes
}

// String returns both versions, for --version.
func String() string { return Get() + " (Kubernetes libraries " + Kubernetes() + ")" }

// BuildInfo returns the metric secret_build_info: kubernetes_build_info, which the libraries export, does not have this
// project's version separately.
func BuildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "secret_build_info",
		Help: "Always 1. " +
			"The labels are the version and commit of this program and the version of its Kubernetes libraries.",
		ConstLabels: prometheus.Labels{
			"version": Get(), "commit": version.Get().GitCommit, "kubernetes_version": Kubernetes(),
		},
	}, func() float64 { return 1 })
}
