// SPDX-License-Identifier: Apache-2.0

// +k8s:openapi-gen=true
// +k8s:openapi-model-package=app.grafana.secret.v1beta1
// +k8s:deepcopy-gen=package
// +k8s:conversion-gen=github.com/securevalue/secret-apiserver/pkg/apis/secret
// +k8s:defaulter-gen=TypeMeta
// +k8s:protobuf-gen=package
// +groupName=secret.grafana.app

// Package v1beta1 holds the served and stored types of secret.grafana.app/v1beta1, JSON exactly as the Secrets
// Management HTTP API documents it. It must never gain a field that holds ciphertext or a readable value.
package v1beta1
