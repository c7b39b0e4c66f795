// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"net/http"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func TestResourceVersion(t *testing.T) {
	for version, good := range map[string]bool{
		"": true, "0": true, "7": true, "18446744073709551615": true, "x": false, "-1": false, "7 ": false, "18446744073709551616": false,
	} {
		sv := &secret.SecureValue{}
		sv.ResourceVersion = version
		_, err := resourceVersion(sv)
		if (err == nil) != good {
			t.Errorf("%q: got %v", version, err)
		}
		if err == nil {
			continue
		}
		status := statusOf(t, clientError(t.Context(), "api-key", err))
		if status.Code != http.StatusBadRequest || status.Details.Causes[0].Field != "metadata.resourceVersion" {
			t.Errorf("%q: want 400 for metadata.resourceVersion, got %+v", version, status)
		}
	}
}
