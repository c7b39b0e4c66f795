// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// ConfigMap is the one that delegated authentication rests on.
const ConfigMap = "extension-apiserver-authentication"

// path is what a URL names.
type path struct{ group, resource, namespace, name string }

// event is a change of one object. The last one of an object is its state.
type event struct {
	kind     watch.EventType
	resource string
	object   *unstructured.Unstructured
}

func parsePath(url string) path {
	parts := strings.Split(strings.Trim(url, "/"), "/")
	var p path
	if parts[0] == "apis" && len(parts) > 2 {
		p.group, parts = parts[1]+"/"+parts[2], parts[3:]
	} else if len(parts) > 1 {
		p.group, parts = parts[1], parts[2:]
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		p.namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 0 {
		p.resource = parts[0]
	}
	if len(parts) > 1 {
		p.name = parts[1]
	}
	return p
}

// SetConfigMap replaces the data of the ConfigMap.
func (s *Server) SetConfigMap(t *testing.T, data map[string]string) {
	t.Helper()
	content := map[string]any{}
	for key, value := range data {
		content[key] = value
	}
	s.Set(t, "configmaps", map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": metav1.NamespaceSystem, "name": ConfigMap}, "data": content,
	})
}

// Set creates or replaces an object.
func (s *Server) Set(t *testing.T, resource string, object map[string]any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(resource, &unstructured.Unstructured{Object: object})
}

// Delete removes an object.
func (s *Server) Delete(t *testing.T, resource, namespace, name string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.find(path{resource: resource, namespace: namespace, name: name})
	if old == nil {
		t.Fatalf("no %s %s/%s", resource, namespace, name)
	}
	s.record(event{watch.Deleted, resource, old.DeepCopy()})
}

func (s *Server) set(resource string, object *unstructured.Unstructured) {
	kind := watch.Added
	if s.find(path{resource: resource, namespace: object.GetNamespace(), name: object.GetName()}) != nil {
		kind = watch.Modified
	}
	s.record(event{kind, resource, object})
}

func (s *Server) record(e event) {
	e.object.SetResourceVersion(strconv.Itoa(len(s.events) + 1))
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (e event) is(p path) bool {
	return e.resource == p.resource && (p.namespace == "" || e.object.GetNamespace() == p.namespace) &&
		(p.name == "" || e.object.GetName() == p.name)
}

// find returns the state of one object, all the states of a collection with findAll.
func (s *Server) find(p path) *unstructured.Unstructured {
	if all := s.findAll(p); len(all) > 0 {
		return all[0]
	}
	return nil
}

func (s *Server) findAll(p path) []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	seen := map[string]bool{}
	for _, e := range slices.Backward(s.events) {
		key := e.object.GetNamespace() + "/" + e.object.GetName()
		if !e.is(p) || seen[key] {
			continue
		}
		if seen[key] = true; e.kind != watch.Deleted {
			all = append(all, e.object)
		}
	}
	return all
}

func (s *Server) get(w http.ResponseWriter, p path) {
	s.mu.Lock()
	object := s.find(p)
	s.mu.Unlock()
	if object == nil {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	answer(w, http.StatusOK, object.Object)
}

// update replaces an object, or the status of one; a stale version is a conflict.
func (s *Server) update(w http.ResponseWriter, r *http.Request, p path) {
	object, err := decode(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.find(p)
	if old == nil || old.GetResourceVersion() != object.GetResourceVersion() {
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
		return
	}
	s.set(p.resource, object)
	answer(w, http.StatusOK, object.Object)
}

// decode reads JSON or protobuf, as typed clients choose.
func decode(r *http.Request) (*unstructured.Unstructured, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	decoded := &unstructured.Unstructured{Object: content}
	decoded.SetGroupVersionKind(*kind)
	return decoded, nil
}

// selected adds to the path what a field selector asks for.
func selected(r *http.Request, p path) path {
	if selector, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector")); err == nil {
		if name, ok := selector.RequiresExactMatch(metav1.ObjectNameField); ok {
			p.name = name
		}
	}
	return p
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, p path) {
	s.mu.Lock()
	items := []any{}
	for _, object := range s.findAll(selected(r, p)) {
		items = append(items, object.Object)
	}
	version := strconv.Itoa(len(s.events))
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{
		"apiVersion": p.group, "kind": listKind(p), "metadata": map[string]any{"resourceVersion": version}, "items": items,
	})
}

// kinds are those that a server asks for.
var kinds = map[string]string{
	"configmaps": "ConfigMap", "namespaces": "Namespace", "resourcequotas": "ResourceQuota",
	"flowschemas": "FlowSchema", "prioritylevelconfigurations": "PriorityLevelConfiguration",
}

func listKind(p path) string { return kinds[p.resource] + "List" }

// watch sends what changes, all of it first when the client asks for that.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, p path) {
	p = selected(r, p)
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	send := func(kind watch.EventType, object map[string]any) {
		_ = encoder.Encode(map[string]any{"type": kind, "object": object})
	}
	s.mu.Lock()
	next, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, object := range s.findAll(p) {
			send(watch.Added, object.Object)
		}
		next = len(s.events)
		send(watch.Bookmark, bookmark(p, next))
	}
	s.mu.Unlock()
	for {
		s.mu.Lock()
		for ; next < len(s.events); next++ {
			if e := s.events[next]; e.is(p) {
				send(e.kind, e.object.Object)
			}
		}
		changed := s.changed
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func bookmark(p path, version int) map[string]any {
	object := unstructured.Unstructured{Object: map[string]any{"apiVersion": p.group, "kind": kinds[p.resource]}}
	object.SetResourceVersion(strconv.Itoa(version))
	object.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	return object.Object
}
