// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func getStatefulSet(t *testing.T, objects []object) *appsv1.StatefulSet {
	t.Helper()
	return get[*appsv1.StatefulSet](t, objects, "secret-etcd")
}

// TestPodsAreRestricted asks the library by which kube-apiserver enforces the namespace's label.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	each(t, func(t *testing.T, objects []object) {
		namespace := get[*corev1.Namespace](t, objects, "secret-system")
		if got := namespace.Labels[api.EnforceLevelLabel]; got != string(api.LevelRestricted) {
			t.Errorf("the namespace enforces %q", got)
		}
		for _, p := range pods(objects) {
			for _, result := range evaluator.EvaluatePod(level, &p.meta, &p.spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s", id(p.owner), result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	})
}

// image is a name with a version or a digest.
var image = regexp.MustCompile(`^[a-z0-9./-]+(:[a-zA-Z0-9._-]+)?(@sha256:[0-9a-f]{64})?$`)

func TestContainers(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		for _, p := range pods(objects) {
			checkContainers(t, p)
			if user := p.spec.SecurityContext.RunAsUser; user != nil && *user == 0 {
				t.Errorf("%s runs as root", id(p.owner))
			}
		}
	})
}

// checkContainers is for what Pod Security does not ask.
func checkContainers(t *testing.T, p pod) {
	t.Helper()
	if p.spec.HostNetwork || p.spec.HostPID || p.spec.HostIPC || p.spec.ShareProcessNamespace != nil {
		t.Errorf("%s shares something of its host", id(p.owner))
	}
	if p.spec.ServiceAccountName == "" && (p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken) {
		t.Errorf("%s has a token that it does not need", id(p.owner))
	}
	for _, c := range p.containers() {
		at := id(p.owner) + ", container " + c.Name
		if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s can write to its root", at)
		}
		if _, tag, _ := strings.Cut(c.Image, ":"); !image.MatchString(c.Image) || tag == "" || tag == "latest" {
			t.Errorf("%s: image %q has no version", at, c.Image)
		}
		if c.ImagePullPolicy != corev1.PullIfNotPresent {
			t.Errorf("%s pulls %q", at, c.ImagePullPolicy)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s asks for or may use any amount", at)
		}
		if !c.Resources.Limits.Cpu().IsZero() {
			t.Errorf("%s is throttled, which a server with deadlines must not be", at)
		}
		// Values of Secrets in the environment are in crash dumps and in `kubectl describe` of nodes' runtimes.
		for _, v := range c.Env {
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
				t.Errorf("%s has a Secret in its environment", at)
			}
		}
		if len(c.EnvFrom) != 0 {
			t.Errorf("%s takes its environment from elsewhere", at)
		}
	}
}

func TestProbes(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		for _, p := range pods(objects) {
			if !p.long {
				continue
			}
			checkProbes(t, p)
		}
		server := getPod(t, objects, "secret-apiserver").container(t, "secret-apiserver")
		if live, ready := server.LivenessProbe.HTTPGet.Path, server.ReadinessProbe.HTTPGet.Path; live != "/livez" || ready != "/readyz?exclude=etcd&exclude=etcd-readiness" {
			t.Errorf("the server is restarted by %s and served by %s", live, ready)
		}
	})
}

func checkProbes(t *testing.T, p pod) {
	t.Helper()
	for _, c := range p.spec.Containers {
		for kind, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
			if probe == nil || probe.HTTPGet == nil {
				t.Errorf("%s, container %s has no %s probe", id(p.owner), c.Name, kind)
				continue
			}
			port := probe.HTTPGet.Port.StrVal
			if !slices.ContainsFunc(c.Ports, func(cp corev1.ContainerPort) bool { return cp.Name == port }) {
				t.Errorf("%s: the %s probe asks port %q, which there is not", id(p.owner), kind, port)
			}
		}
	}
}

// TestNoSecretIsShipped keeps keys out of the manifests: one that everybody can read would be the key of many clusters.
func TestNoSecretIsShipped(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		for _, secret := range all[*corev1.Secret](objects) {
			t.Errorf("%s is in the manifests", id(secret))
		}
		for _, p := range pods(objects) {
			for _, v := range p.spec.Volumes {
				if v.Secret != nil && (v.Secret.Optional != nil || *v.Secret.DefaultMode != 0o440) {
					t.Errorf("%s: volume %s is optional, or its files are open to others", id(p.owner), v.Name)
				}
			}
		}
	})
}

// TestCAIsMountedNowhere: who has the Pod must not have the key that makes certificates.
func TestCAIsMountedNowhere(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		for _, p := range pods(objects) {
			for _, v := range p.spec.Volumes {
				if v.Secret != nil && strings.HasSuffix(v.Secret.SecretName, "-ca") {
					t.Errorf("%s mounts %s", id(p.owner), v.Secret.SecretName)
				}
			}
		}
	})
}

func TestRolesNameEverything(t *testing.T) {
	each(t, func(t *testing.T, objects []object) {
		check := func(o object, rules []rbacv1.PolicyRule) {
			for _, rule := range rules {
				for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs} {
					if slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "*") }) {
						t.Errorf("%s has a * in %v", id(o), rule)
					}
				}
				for _, verb := range []string{"impersonate", "bind", "escalate"} {
					if slices.Contains(rule.Verbs, verb) && o.GetName() != "secret.grafana.app:decrypter-granter" {
						t.Errorf("%s has the verb %s", id(o), verb)
					}
				}
				decrypts := slices.Contains(rule.Verbs, "decrypt") || slices.Contains(rule.Verbs, "use")
				if decrypts && (!strings.HasPrefix(o.GetName(), "secret.grafana.app:decrypter-") || len(o.GetLabels()) != 1) {
					t.Errorf("%s may open values, or is part of another role that then may", id(o))
				}
				reads := slices.ContainsFunc(rule.Verbs, func(v string) bool { return v != "create" })
				if slices.Contains(rule.Resources, "secrets") && reads && len(rule.ResourceNames) == 0 {
					t.Errorf("%s may read or change every Secret", id(o))
				}
			}
		}
		for _, role := range all[*rbacv1.Role](objects) {
			check(role, role.Rules)
		}
		for _, role := range all[*rbacv1.ClusterRole](objects) {
			check(role, role.Rules)
			if slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "secrets") }) {
				t.Errorf("%s is about Secrets in every namespace", id(role))
			}
		}
	})
}

func TestServiceVerification(t *testing.T) {
	for name, folder := range builds {
		t.Run(name, func(t *testing.T) {
			service := get[*apiregistrationv1.APIService](t, build(t, folder), "v1beta1.secret.grafana.app")
			if got, want := service.Spec.InsecureSkipTLSVerify, name == "insecure"; got != want {
				t.Errorf("insecureSkipTLSVerify is %t", got)
			}
			if len(service.Spec.CABundle) != 0 {
				t.Error("a caBundle is in the manifests: applying them again would undo a rotation")
			}
			if got, want := service.Annotations["cert-manager.io/inject-ca-from"], name == "cert-manager"; (got != "") != want {
				t.Errorf("the annotation of cert-manager is %q", got)
			}
		})
	}
}

// TestFences asks the policies, with their own semantics, who may reach which port.
func TestFences(t *testing.T) {
	allowed := map[string]string{"secret.grafana.app/decrypt": "allowed"}
	server := map[string]string{"app.kubernetes.io/name": "secret-apiserver", "secret.grafana.app/etcd-client": "true"}
	etcd := map[string]string{"app.kubernetes.io/name": "secret-etcd"}
	manager := map[string]string{"app.kubernetes.io/name": "secret-controller-manager"}
	metrics := map[string]string{"secret.grafana.app/metrics": "allowed"}
	system := map[string]string{"kubernetes.io/metadata.name": "secret-system"}
	cases := []struct {
		what                  string
		fromNamespace, fromMe map[string]string
		to                    map[string]string
		port                  string
		want                  bool
	}{
		{"decrypting, both labels", allowed, allowed, server, "decrypt", true},
		{"decrypting, only the namespace has it", allowed, nil, server, "decrypt", false},
		{"decrypting, only the Pod has it", nil, allowed, server, "decrypt", false},
		{"decrypting, from beside the server", system, server, server, "decrypt", false},
		{"decrypting, from anywhere", nil, nil, server, "decrypt", false},
		{"the API, from anywhere", nil, nil, server, "https", true},
		{"etcd, by the server", system, server, etcd, "client", true},
		{"etcd, by a Pod elsewhere with the server's labels", allowed, server, etcd, "client", false},
		{"etcd, by another Pod of the namespace", system, map[string]string{"app.kubernetes.io/name": "secret-controller-manager"}, etcd, "client", false},
		{"etcd's peer port, by a member", system, etcd, etcd, "peer", true},
		{"etcd's peer port, by the server", system, server, etcd, "peer", false},
		{"etcd's metrics, by the server", system, server, etcd, "metrics", false},
		{"the controller manager's metrics, from anywhere", nil, nil, manager, "metrics", false},
		{"the controller manager's metrics, both labels", metrics, metrics, manager, "metrics", true},
		{"the controller manager's metrics, only the namespace has it", metrics, nil, manager, "metrics", false},
		{"the controller manager's health, by who may read metrics", metrics, metrics, manager, "health", false},
	}
	each(t, func(t *testing.T, objects []object) {
		for _, c := range cases {
			if got := reachable(t, objects, c.fromNamespace, c.fromMe, c.to, c.port); got != c.want {
				t.Errorf("%s: reachable %t", c.what, got)
			}
		}
	})
}

// reachable says whether a Pod may reach a port of another in our namespace. A Pod that no policy selects is open.
func reachable(t *testing.T, objects []object, fromNamespace, from, to map[string]string, port string) bool {
	t.Helper()
	selected := false
	for _, policy := range all[*networkingv1.NetworkPolicy](objects) {
		if policy.Namespace != "secret-system" {
			t.Errorf("%s is elsewhere", id(policy))
		}
		if !matches(t, &policy.Spec.PodSelector, to) || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			continue
		}
		selected = true
		for _, rule := range policy.Spec.Ingress {
			here := slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.StrVal == port })
			if (len(rule.Ports) == 0 || here) && admits(t, rule.From, fromNamespace, from) {
				return true
			}
		}
	}
	return !selected
}

func admits(t *testing.T, peers []networkingv1.NetworkPolicyPeer, namespace, pod labels.Set) bool {
	t.Helper()
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		inNamespace := namespace["kubernetes.io/metadata.name"] == "secret-system"
		if peer.NamespaceSelector != nil {
			inNamespace = matches(t, peer.NamespaceSelector, namespace)
		}
		return inNamespace && (peer.PodSelector == nil || matches(t, peer.PodSelector, pod))
	})
}

// TestPriority: some clusters refuse the class outside of kube-system unless a ResourceQuota names it.
func TestPriority(t *testing.T) {
	for name, folder := range builds {
		objects := build(t, folder)
		var want int64
		for _, p := range pods(objects) {
			if _, job := p.owner.(*batchv1.CronJob); (p.spec.PriorityClassName != "") != (name == "priority" && !job) {
				t.Errorf("%s: %s has priority class %q", name, id(p.owner), p.spec.PriorityClassName)
			}
			want += 2 * 3 // a rollout may double three replicas
		}
		quotas := all[*corev1.ResourceQuota](objects)
		if name != "priority" {
			if len(quotas) != 0 {
				t.Errorf("%s has a quota", name)
			}
			continue
		}
		if len(quotas) != 1 || quotas[0].Spec.ScopeSelector.MatchExpressions[0].Values[0] != "system-cluster-critical" ||
			quotas[0].Spec.Hard.Pods().Value() < want-6 { // the backup has no priority
			t.Errorf("quotas are %v", quotas)
		}
	}
}

// TestUsers: only OpenShift assigns users, and Pods run on Linux.
func TestUsers(t *testing.T) {
	for name, folder := range builds {
		for _, p := range pods(build(t, folder)) {
			context := p.spec.SecurityContext
			assigned := context.RunAsUser == nil && context.RunAsGroup == nil && context.FSGroup == nil
			if assigned != (name == "openshift") || !*context.RunAsNonRoot {
				t.Errorf("%s: %s has security context %v", name, id(p.owner), context)
			}
			if p.spec.NodeSelector[corev1.LabelOSStable] != "linux" {
				t.Errorf("%s: %s may run on any system", name, id(p.owner))
			}
		}
	}
}

// TestEtcdFindsDNS: kube-dns, its cache on the node, and that of OpenShift.
func TestEtcdFindsDNS(t *testing.T) {
	objects := build(t, builds["production"])
	found := map[string]int32{}
	for _, rule := range get[*networkingv1.NetworkPolicy](t, objects, "secret-etcd").Spec.Egress {
		for _, to := range rule.To {
			switch {
			case to.IPBlock != nil:
				found[to.IPBlock.CIDR] = rule.Ports[0].Port.IntVal
			case to.NamespaceSelector != nil:
				found[to.NamespaceSelector.MatchLabels[corev1.LabelMetadataName]] = rule.Ports[0].Port.IntVal
			}
		}
	}
	if want := map[string]int32{"kube-system": 53, "169.254.20.10/32": 53, "openshift-dns": 5353}; !maps.Equal(found, want) {
		t.Errorf("etcd may ask %v, want %v", found, want)
	}
}
