// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
)

func matches(t *testing.T, selector *metav1.LabelSelector, set labels.Set) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(set)
}

// TestNamespaces: nothing is left to the namespace of who applies it, and nothing of ours is elsewhere but the one
// binding that must be.
// TestWhatIsKept: what holds keys or data has the label and the annotations by which it outlives an uninstall.
func TestWhatIsKept(t *testing.T) {
	want := map[string]string{
		"argocd.argoproj.io/sync-options": "Prune=false,Delete=false", "helm.sh/resource-policy": "keep",
		"kustomize.toolkit.fluxcd.io/prune": "disabled",
	}
	each(t, func(t *testing.T, objects []object) {
		for _, o := range objects {
			kind := o.GetObjectKind().GroupVersionKind().Kind
			keep := kind == "Namespace" || kind == "PersistentVolumeClaim" || kind == "Secret"
			if (o.GetLabels()["secret.grafana.app/keep"] == "true") != keep {
				t.Errorf("%s has labels %v", id(o), o.GetLabels())
			}
			for name, value := range want {
				if (o.GetAnnotations()[name] == value) != keep {
					t.Errorf("%s has annotations %v", id(o), o.GetAnnotations())
				}
			}
		}
		for _, s := range all[*appsv1.StatefulSet](objects) {
			if policy := s.Spec.PersistentVolumeClaimRetentionPolicy; policy.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
				t.Errorf("%s takes its volumes with it", id(s))
			}
		}
	})
}

func TestNamespaces(t *testing.T) {
	cluster := []string{"Namespace", "ClusterRole", "ClusterRoleBinding", "APIService"}
	each(t, func(t *testing.T, objects []object) {
		seen := map[string]bool{}
		for _, o := range objects {
			kind := o.GetObjectKind().GroupVersionKind().Kind
			want := "secret-system"
			if slices.Contains(cluster, kind) {
				want = ""
			} else if o.GetName() == "secret.grafana.app:server:authentication-reader" {
				want = "kube-system"
			}
			if o.GetNamespace() != want {
				t.Errorf("%s is in namespace %q", id(o), o.GetNamespace())
			}
			if seen[id(o)] {
				t.Errorf("%s is there twice", id(o))
			}
			seen[id(o)] = true
			if o.GetLabels()["app.kubernetes.io/part-of"] == "" && kind != "Certificate" && kind != "Issuer" {
				if !slices.Contains([]string{"secret-etcd-backup", "secret.grafana.app:own-ca"}, o.GetName()) {
					t.Errorf("%s is not labelled as part of the whole", id(o))
				}
			}
		}
	})
}

// TestMountedSecretsAreMade: what a Pod waits for is made by somebody.
func TestMountedSecretsAreMade(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		made := []string{"secret-apiserver-encryption", "secret-decrypt-audit"} // by hand, as docs/operations.md says
		for _, c := range all[*certmanagerv1.Certificate](objects) {
			made = append(made, c.Spec.SecretName)
		}
		if hasOwnCA(objects) || t.Name() == "TestMountedSecretsAreMade/insecure" { // there by hand
			for _, a := range ownAuthorities() {
				for _, c := range a.Certificates {
					made = append(made, c.Secret)
				}
			}
		}
		for _, p := range pods(objects) {
			for _, v := range p.spec.Volumes {
				if v.Secret != nil && !slices.Contains(made, v.Secret.SecretName) {
					t.Errorf("%s mounts Secret %s, which nobody makes", id(p.owner), v.Secret.SecretName)
				}
				if v.ConfigMap != nil {
					get[*corev1.ConfigMap](t, objects, v.ConfigMap.Name)
				}
				if v.HostPath != nil {
					t.Errorf("%s mounts a folder of its host", id(p.owner))
				}
			}
		}
	})
}

func ownAuthorities() []certificates.Authority {
	return []certificates.Authority{certificates.ServingAuthority("secret-system"), certificates.EtcdAuthority("secret-system")}
}

func hasOwnCA(objects []object) bool {
	return slices.ContainsFunc(objects, func(o object) bool { return o.GetName() == "secret.grafana.app:own-ca" })
}

// TestOwnCAMayTouchItsOwnObjectsOnly holds the Role against what the controller knows.
func TestOwnCAMayTouchItsOwnObjectsOnly(t *testing.T) {
	objects := build(t, builds["production"])
	var secrets, services []string
	for _, a := range ownAuthorities() {
		secrets = append(secrets, a.CASecret)
		for _, c := range a.Certificates {
			secrets = append(secrets, c.Secret)
		}
		if a.APIService != "" {
			services = append(services, a.APIService)
		}
	}
	slices.Sort(secrets)
	role := get[*rbacv1.Role](t, objects, "secret.grafana.app:own-ca")
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: secrets, Verbs: []string{"get", "list", "watch", "update"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"list"}},
		{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Error(diff)
	}
	clusterRole := get[*rbacv1.ClusterRole](t, objects, "secret.grafana.app:own-ca")
	want = []rbacv1.PolicyRule{{
		APIGroups: []string{"apiregistration.k8s.io"}, Resources: []string{"apiservices"}, ResourceNames: services,
		Verbs: []string{"get", "list", "watch", "patch"},
	}}
	if diff := cmp.Diff(want, clusterRole.Rules); diff != "" {
		t.Error(diff)
	}
}

// TestPublisherMayTouchItsOwnNamesOnly: in all namespaces it may change one ConfigMap, and attest for one signer.
func TestPublisherMayTouchItsOwnNamesOnly(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		get[*rbacv1.ClusterRoleBinding](t, objects, "secret.grafana.app:ca-publisher")
		rules := get[*rbacv1.ClusterRole](t, objects, "secret.grafana.app:ca-publisher").Rules
		want := map[string][]string{
			"apiservices": {"v1beta1.secret.grafana.app"}, "configmaps": {"secret-ca"},
			"clustertrustbundles": {"secret.grafana.app:serving:ca"}, "signers": {"secret.grafana.app/serving"},
		}
		for _, rule := range rules {
			unnamed := slices.Equal(rule.Verbs, []string{"create"}) || slices.Equal(rule.Resources, []string{"namespaces"})
			if len(rule.Resources) != 1 || (!unnamed && !slices.Equal(rule.ResourceNames, want[rule.Resources[0]])) {
				t.Errorf("it may do more: %v", rule)
			}
		}
	})
}

// TestCertManagerIssuesTheSame holds the Certificates of cert-manager against those of the own CA.
func TestCertManagerIssuesTheSame(t *testing.T) {
	type names map[string][]string
	own, theirs := names{}, names{}
	for _, a := range ownAuthorities() {
		for _, c := range a.Certificates {
			own[c.Secret] = slices.Sorted(slices.Values(c.DNSNames))
		}
	}
	for _, c := range all[*certmanagerv1.Certificate](build(t, builds["cert-manager"])) {
		if !c.Spec.IsCA {
			theirs[c.Spec.SecretName] = slices.Sorted(slices.Values(c.Spec.DNSNames))
		}
		if c.Spec.PrivateKey.Algorithm != certmanagerv1.ECDSAKeyAlgorithm || c.Spec.PrivateKey.Size != 256 {
			t.Errorf("%s has a key of %s %d", c.Name, c.Spec.PrivateKey.Algorithm, c.Spec.PrivateKey.Size)
		}
	}
	if diff := cmp.Diff(own, theirs); diff != "" {
		t.Error(diff)
	}
}

func TestSelectorsSelect(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		selects := func(o object, s *metav1.LabelSelector) {
			if !slices.ContainsFunc(pods(objects), func(p pod) bool { return matches(t, s, p.meta.Labels) }) {
				t.Errorf("%s selects no Pod", id(o))
			}
		}
		for _, service := range all[*corev1.Service](objects) {
			selects(service, &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
			for _, p := range pods(objects) {
				if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(p.meta.Labels)) {
					continue
				}
				for _, port := range service.Spec.Ports {
					if !slices.ContainsFunc(p.spec.Containers[0].Ports, func(c corev1.ContainerPort) bool { return c.Name == port.TargetPort.StrVal }) {
						t.Errorf("%s: %s has no port %s", id(service), id(p.owner), port.TargetPort.StrVal)
					}
				}
			}
		}
		for _, budget := range all[*policyv1.PodDisruptionBudget](objects) {
			selects(budget, budget.Spec.Selector)
		}
		for _, d := range all[*appsv1.Deployment](objects) {
			if !matches(t, d.Spec.Selector, d.Spec.Template.Labels) {
				t.Errorf("%s does not select its own Pods", id(d))
			}
		}
		for _, p := range pods(objects) {
			for _, c := range p.spec.TopologySpreadConstraints {
				if !matches(t, c.LabelSelector, p.meta.Labels) {
					t.Errorf("%s spreads other Pods than its own", id(p.owner))
				}
			}
			if p.spec.ServiceAccountName != "" {
				get[*corev1.ServiceAccount](t, objects, p.spec.ServiceAccountName)
			}
		}
	})
}

// publicKeysRole is the only role that everybody has: to read the public sealing keys.
const publicKeysRole = "secret.grafana.app:sealingkeys-reader"

func TestBindings(t *testing.T) {
	builtin := []string{"system:auth-delegator", "extension-apiserver-authentication-reader"}
	each(t, func(t *testing.T, objects []object) {
		check := func(o object, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
			exists := slices.ContainsFunc(objects, func(other object) bool {
				return other.GetName() == ref.Name && other.GetObjectKind().GroupVersionKind().Kind == ref.Kind
			})
			if !exists && !slices.Contains(builtin, ref.Name) {
				t.Errorf("%s binds %s %s, which there is not", id(o), ref.Kind, ref.Name)
			}
			for _, s := range subjects {
				if ref.Name == publicKeysRole && s.Kind == rbacv1.GroupKind && s.Name == "system:authenticated" {
					continue
				}
				if s.Kind != "ServiceAccount" || s.Namespace != "secret-system" {
					t.Errorf("%s binds %s %s", id(o), s.Kind, s.Name)
				}
				get[*corev1.ServiceAccount](t, objects, s.Name)
			}
		}
		for _, b := range all[*rbacv1.ClusterRoleBinding](objects) {
			check(b, b.RoleRef, b.Subjects)
			if role := get[*rbacv1.ClusterRole](t, objects, publicKeysRole); b.RoleRef.Name == publicKeysRole {
				want := []rbacv1.PolicyRule{{APIGroups: []string{"secret.grafana.app"}, Resources: []string{"sealingkeys"},
					Verbs: []string{"get", "list"}}}
				if !reflect.DeepEqual(role.Rules, want) {
					t.Errorf("%s gives everybody %v", id(b), role.Rules)
				}
			}
		}
		for _, b := range all[*rbacv1.RoleBinding](objects) {
			check(b, b.RoleRef, b.Subjects)
		}
	})
}

// TestShippedRolesAreInstalled: what config/rbac ships is what a cluster gets.
func TestShippedRolesAreInstalled(t *testing.T) {
	objects := build(t, builds["production"])
	files, err := filepath.Glob("../../config/rbac/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var role rbacv1.ClusterRole
		if err := yaml.UnmarshalStrict(data, &role); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if diff := cmp.Diff(role.Rules, get[*rbacv1.ClusterRole](t, objects, role.Name).Rules); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func TestAPIServicePointsAtTheServer(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		spec := get[*apiregistrationv1.APIService](t, objects, "v1beta1.secret.grafana.app").Spec
		service := get[*corev1.Service](t, objects, spec.Service.Name)
		if spec.Service.Namespace != service.Namespace || *spec.Service.Port != service.Spec.Ports[0].Port || service.Spec.Type != "" {
			t.Errorf("it points at %+v", spec.Service)
		}
		decrypt := get[*corev1.Service](t, objects, "secret-decrypt")
		if len(service.Spec.Ports) != 1 || len(decrypt.Spec.Ports) != 1 || decrypt.Spec.Ports[0].Port != 8444 {
			t.Error("the API and decrypting share a Service, or the port is another")
		}
		if spec.Group+"/"+spec.Version != "secret.grafana.app/v1beta1" {
			t.Errorf("it registers %s/%s", spec.Group, spec.Version)
		}
	})
}

// TestReplicas: production survives the loss of a node.
func TestReplicas(t *testing.T) {
	want := map[string]map[string]int32{
		"development":  {"secret-apiserver": 1, "secret-controller-manager": 1, "secret-etcd": 1},
		"production":   {"secret-apiserver": 3, "secret-controller-manager": 2, "secret-etcd": 3},
		"cert-manager": {"secret-apiserver": 3, "secret-controller-manager": 2, "secret-etcd": 3},
	}
	for name, replicas := range want {
		t.Run(name, func(t *testing.T) {
			objects := build(t, builds[name])
			got := map[string]int32{"secret-etcd": *getStatefulSet(t, objects).Spec.Replicas}
			for _, d := range all[*appsv1.Deployment](objects) {
				got[d.Name] = *d.Spec.Replicas
			}
			if !maps.Equal(got, replicas) {
				t.Errorf("got %v, want %v", got, replicas)
			}
		})
	}
}
