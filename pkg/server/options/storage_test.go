// SPDX-License-Identifier: Apache-2.0

package options

import (
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// A rollout whose Pods never reach their KMS has been reported as failed before the first of them is ready all the
// same.
func TestKMSStartupGraceIsLongerThanTheProgressDeadline(t *testing.T) {
	manifest, err := os.ReadFile("../../../deploy/base/deployment-server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(manifest), "\n---\n")
	var deployment appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(first), &deployment); err != nil {
		t.Fatal(err)
	}
	deadline := 600 * time.Second // that of Kubernetes
	if seconds := deployment.Spec.ProgressDeadlineSeconds; seconds != nil {
		deadline = time.Duration(*seconds) * time.Second
	}
	server := deployment.Spec.Template.Spec.Containers[0]
	given := strings.Contains(strings.Join(server.Args, " "), "--kms-startup-grace")
	if grace := newEncryptionOptions().KMSStartupGrace; grace < deadline+time.Minute || given {
		t.Errorf("--kms-startup-grace is %s by default and progressDeadlineSeconds %s: want a minute more, and no flag", grace, deadline)
	}
	for _, exclude := range []string{"kms-startup", "kms-providers"} {
		if path := server.ReadinessProbe.HTTPGet.Path; strings.Contains(path, exclude) {
			t.Errorf("the readiness probe %s leaves out %s", path, exclude)
		}
	}
}
