// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

var yamlBlock = regexp.MustCompile("(?ms)^```ya?ml\n(.*?)^```$")

// manifests returns the YAML documents in files below docs, and in blocks of pages, by where they are.
func manifests(t *testing.T) map[string][]string {
	t.Helper()
	root := harness.Root(t)
	all := map[string][]string{}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".yaml" {
			all[path] = strings.Split(read(t, path), "\n---\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages(t) {
		for _, block := range yamlBlock.FindAllStringSubmatch(read(t, filepath.Join(root, page)), -1) {
			all[page] = append(all[page], strings.Split(block[1], "\n---\n")...)
		}
	}
	return all
}

// podTemplate returns the labels of the Pods that a manifest makes; ok is false if it makes none. Fields that do not
// exist fail the test.
func podTemplate(t *testing.T, where, text string) (labels map[string]string, ok bool) {
	t.Helper()
	var kind metav1.TypeMeta
	if yaml.Unmarshal([]byte(text), &kind) != nil {
		return nil, false
	}
	decode := func(into any) {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	switch kind.Kind {
	case "Pod":
		var pod corev1.Pod
		decode(&pod)
		return pod.Labels, true
	case "Deployment":
		var deployment appsv1.Deployment
		decode(&deployment)
		return deployment.Spec.Template.Labels, true
	case "CronJob":
		var job batchv1.CronJob
		decode(&job)
		return job.Spec.JobTemplate.Spec.Template.Labels, true
	case "StatefulSet", "DaemonSet", "Job", "ReplicaSet":
		t.Errorf("%s: teach this test about %s", where, kind.Kind)
	}
	return nil, false
}

// TestManifestsPassTheNetworkPolicy: Pods that use the decrypt port carry the labels that its NetworkPolicy admits. They
// are those with its address, or with a token for it.
func TestManifestsPassTheNetworkPolicy(t *testing.T) {
	var admitted map[string]string
	policies, err := os.ReadFile(filepath.Join(harness.Root(t), "deploy", "base", "networkpolicies.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.SplitSeq(string(policies), "\n---\n") {
		var policy networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(text), &policy); err != nil {
			t.Fatal(err)
		}
		if policy.Name == "secret-apiserver-decrypt" {
			admitted = policy.Spec.Ingress[0].From[0].PodSelector.MatchLabels
		}
	}
	found := 0
	for where, texts := range manifests(t) {
		for _, text := range texts {
			labels, ok := podTemplate(t, where, text)
			if !ok || !strings.Contains(text, "8444") && !strings.Contains(text, "audience: secret.grafana.app") {
				continue
			}
			found++
			for label, value := range admitted {
				if labels[label] != value {
					t.Errorf("%s: the Pods need the label %s: %s", where, label, value)
				}
			}
		}
	}
	if found < 4 || len(admitted) == 0 {
		t.Errorf("%d manifests, labels %v", found, admitted)
	}
}
