// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTrustBundleVersions serves discovery as clusters of several ages do.
func TestTrustBundleVersions(t *testing.T) {
	const requests = "certificatesigningrequests"
	for name, test := range map[string]struct {
		served map[string]string // resources by version
		want   string            // path that is asked for
	}{
		"GA":       {map[string]string{"v1": "clustertrustbundles", "v1beta1": "clustertrustbundles"}, "/v1/"},
		"beta":     {map[string]string{"v1": requests, "v1beta1": "clustertrustbundles"}, "/v1beta1/"},
		"off":      {map[string]string{"v1": requests}, ""},
		"no group": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/clustertrustbundles") {
					asked = append(asked, r.Method+" "+r.URL.Path)
				}
				discover(w, r.URL.Path, test.served)
			}))
			defer server.Close()
			live, err := client.New(&rest.Config{Host: server.URL}, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := newPublishing(t)
			p.Reader = live
			err = p.publishTrustBundle(t.Context())
			if test.want == "" {
				if err != nil || len(asked) != 0 {
					t.Errorf("got %v after %q", err, asked)
				}
				return
			}
			if len(asked) == 0 || !strings.Contains(asked[0], test.want) {
				t.Errorf("asked for %q; %v", asked, err)
			}
		})
	}
}

// discover answers as kube-apiserver without aggregated discovery. Objects are not found.
func discover(w http.ResponseWriter, path string, served map[string]string) {
	group := metav1.APIGroup{Name: certificatesv1.GroupName}
	for version := range served {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{
			GroupVersion: group.Name + "/" + version, Version: version})
	}
	version := strings.TrimPrefix(path, "/apis/"+group.Name+"/")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case path == "/api":
		_ = json.NewEncoder(w).Encode(metav1.APIVersions{Versions: []string{"v1"}})
	case path == "/apis" && served != nil:
		_ = json.NewEncoder(w).Encode(metav1.APIGroupList{Groups: []metav1.APIGroup{group}})
	case path == "/apis":
		_ = json.NewEncoder(w).Encode(metav1.APIGroupList{})
	case served[version] != "":
		kind := map[bool]string{true: "ClusterTrustBundle", false: "CertificateSigningRequest"}[served[version] ==
			"clustertrustbundles"]
		_ = json.NewEncoder(w).Encode(metav1.APIResourceList{GroupVersion: group.Name + "/" + version,
			APIResources: []metav1.APIResource{{Name: served[version], Kind: kind}}})
	default:
		status(w, http.StatusNotFound, "NotFound", "")
	}
}
