// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"log/slog"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// Structured loggers marshal unknown objects as JSON, and the JSON of these types contains the value, because a typed
// client has to send it. So each type defines what is logged. This does not cover an object inside another structure:
// log objects by themselves, or by name.

// loggedSpec is what a log shows of a spec.
//
// +k8s:openapi-gen=false
type loggedSpec struct {
	Description string   `json:"description"`
	Value       string   `json:"value,omitempty"`
	Decrypters  []string `json:"decrypters,omitempty"`
}

// loggedObject is what a log shows of a SecureValue. It omits annotations: clients copy manifests into them.
//
// +k8s:openapi-gen=false
type loggedObject struct {
	Namespace       string            `json:"namespace"`
	Name            string            `json:"name"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Spec            loggedSpec        `json:"spec"`
	Status          SecureValueStatus `json:"status"`
}

// loggedList is what a log shows of a SecureValueList.
//
// +k8s:openapi-gen=false
type loggedList struct {
	ResourceVersion string         `json:"resourceVersion,omitempty"`
	Items           []loggedObject `json:"items"`
}

func (s SecureValueSpec) logged() loggedSpec {
	logged := loggedSpec{Description: s.Description, Decrypters: s.Decrypters}
	if s.Value != nil {
		logged.Value = sensitive.Redacted
	}
	return logged
}

func (s SecureValue) logged() loggedObject {
	return loggedObject{
		Namespace: s.Namespace, Name: s.Name, ResourceVersion: s.ResourceVersion,
		Spec: s.Spec.logged(), Status: s.Status,
	}
}

func (l SecureValueList) logged() loggedList {
	logged := loggedList{ResourceVersion: l.ResourceVersion, Items: make([]loggedObject, 0, len(l.Items))}
	for i := range l.Items {
		logged.Items = append(logged.Items, l.Items[i].logged())
	}
	return logged
}

// MarshalLog shows logr and klog the spec without its value.
func (s SecureValueSpec) MarshalLog() any { return s.logged() }

// LogValue shows log/slog the spec without its value.
func (s SecureValueSpec) LogValue() slog.Value { return slog.AnyValue(s.logged()) }

// MarshalLog shows logr and klog the object without its value.
func (s SecureValue) MarshalLog() any { return s.logged() }

// LogValue shows log/slog the object without its value.
func (s SecureValue) LogValue() slog.Value { return slog.AnyValue(s.logged()) }

// MarshalLog shows logr and klog the list without its values.
func (l SecureValueList) MarshalLog() any { return l.logged() }

// LogValue shows log/slog the list without its values.
func (l SecureValueList) LogValue() slog.Value { return slog.AnyValue(l.logged()) }
