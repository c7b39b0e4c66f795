// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// serverAnnotations are set from the authenticated user; values from clients are ignored.
var serverAnnotations = []string{
	secret.AnnotationCreatedBy, secret.AnnotationUpdatedBy, secret.AnnotationUpdatedTimestamp,
	secret.AnnotationDecryptersChangedBy, secret.AnnotationDecryptersAddedBy, secret.AnnotationDecryptersKeptBy,
	secret.AnnotationSealedFrom,
}

// specChanged compares the readable part of the spec.
func specChanged(sv, stored *secret.SecureValue) bool {
	return sv.Spec.Description != stored.Spec.Description || sv.Spec.SealedValue != stored.Spec.SealedValue ||
		!slices.Equal(sv.Spec.Decrypters, stored.Spec.Decrypters)
}

func stampCreate(ctx context.Context, sv *secret.SecureValue) {
	for _, key := range serverAnnotations {
		delete(sv.Annotations, key)
	}
	setAnnotation(sv, secret.AnnotationCreatedBy, userName(ctx))
}

// keepServerAnnotations keeps the server's annotations when a PUT omits them.
func keepServerAnnotations(sv, stored *secret.SecureValue) {
	for _, key := range serverAnnotations {
		if value, ok := stored.Annotations[key]; ok {
			setAnnotation(sv, key, value)
		} else {
			delete(sv.Annotations, key)
		}
	}
}

// stampUpdate records a change. It is not called for a request that changes nothing, which stays a no-op.
func stampUpdate(ctx context.Context, sv *secret.SecureValue) {
	setAnnotation(sv, secret.AnnotationUpdatedBy, userName(ctx))
	setAnnotation(sv, secret.AnnotationUpdatedTimestamp, time.Now().UTC().Format(time.RFC3339))
}

// changed compares what users can write and read; managedFields contain timestamps.
func changed(sv, stored *secret.SecureValue) bool {
	return specChanged(sv, stored) ||
		!apiequality.Semantic.DeepEqual(sv.Labels, stored.Labels) ||
		!apiequality.Semantic.DeepEqual(sv.Annotations, stored.Annotations) ||
		!apiequality.Semantic.DeepEqual(sv.Finalizers, stored.Finalizers) ||
		!apiequality.Semantic.DeepEqual(sv.OwnerReferences, stored.OwnerReferences)
}

// recordDecrypters records who listed which decrypter, and who wrote a value for the list.
func recordDecrypters(ctx context.Context, sv, stored *secret.SecureValue, newValue bool) {
	before, after, user := stored.Spec.Decrypters, sv.Spec.Decrypters, userName(ctx)
	if !sets.New(before...).Equal(sets.New(after...)) {
		setAnnotation(sv, secret.AnnotationDecryptersChangedBy, user)
	}
	addedBy, keptBy := secret.HistoryOf(stored.Annotations).Change(before, after, user, newValue).Annotations()
	for key, value := range map[string]string{secret.AnnotationDecryptersAddedBy: addedBy,
		secret.AnnotationDecryptersKeptBy: keptBy} {
		delete(sv.Annotations, key)
		setAnnotation(sv, key, value)
	}
}

// unseenDecrypters warns a writer whose value becomes readable by decrypters that another user listed: a user with
// write access could extend the list together with a junk value, and wait for the owner to restore the value.
func unseenDecrypters(ctx context.Context, sv, stored *secret.SecureValue) string {
	if sv.Spec.Value == nil {
		return ""
	}
	history := secret.HistoryOf(stored.Annotations)
	kept := slices.DeleteFunc(slices.Clone(sv.Spec.Decrypters), func(name string) bool {
		return !slices.Contains(stored.Spec.Decrypters, name)
	})
	unseen := history.Unseen(kept, userName(ctx))
	if len(unseen) == 0 {
		return ""
	}
	return fmt.Sprintf("this value can be opened by decrypters that other users listed since you last wrote a "+
		"value: %s; spec.decrypters is [%s]",
		history.Describe(unseen), strings.Join(sv.Spec.Decrypters, ", "))
}

func userName(ctx context.Context) string {
	if user, ok := request.UserFrom(ctx); ok {
		return user.GetName()
	}
	return ""
}

func setAnnotation(sv *secret.SecureValue, key, value string) {
	if value == "" {
		return
	}
	if sv.Annotations == nil {
		sv.Annotations = map[string]string{}
	}
	sv.Annotations[key] = value
}

// What is kept of a manifest: all fields of this API that users write, except for the value. A value in a misspelt or
// misplaced field, which a lenient client may send, is dropped as well.
var (
	manifestFields = []string{"apiVersion", "kind", "metadata", "spec"}
	partFields     = map[string][]string{
		"metadata": {"name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences"},
		"spec":     {"description", "decrypters"},
	}
)

// changeCause is where `kubectl patch --record` stores its command line, including the value.
const changeCause = "kubernetes.io/change-cause"

// dropCopiesOfTheValue cleans the annotations that clients copy the value into. The change cause is always dropped: it
// comes in a separate request, which does not show the value, and matters only for a Deployment.
func dropCopiesOfTheValue(sv *secret.SecureValue) {
	delete(sv.Annotations, changeCause)
	dropValueFromLastApplied(sv)
}

// dropValueFromLastApplied removes the value from the manifest that `kubectl apply` keeps in an annotation. The rest is
// kept for pruning. A manifest that cannot be parsed is dropped.
func dropValueFromLastApplied(sv *secret.SecureValue) {
	manifest, ok := sv.Annotations[corev1.LastAppliedConfigAnnotation]
	if !ok {
		return
	}
	clean, ok := withoutValue(manifest)
	if !ok {
		delete(sv.Annotations, corev1.LastAppliedConfigAnnotation)
		return
	}
	sv.Annotations[corev1.LastAppliedConfigAnnotation] = clean
}

// withoutValue always rewrites the manifest: of duplicate keys a parser sees only the last.
func withoutValue(manifest string) (string, bool) {
	object, ok := pick([]byte(manifest), manifestFields)
	if !ok || object == nil {
		return "", false
	}
	for name, fields := range partFields {
		raw, ok := object[name]
		if !ok {
			continue
		}
		part, ok := pick(raw, fields)
		if !ok {
			return "", false
		}
		dropInnerCopies(part)
		clean, err := json.Marshal(part)
		if err != nil {
			return "", false
		}
		object[name] = clean
	}
	clean, err := json.Marshal(object)
	if err != nil {
		return "", false
	}
	return string(clean) + "\n", true // kubectl writes the newline too
}

// dropInnerCopies removes from the manifest's annotations what is removed from the object's.
func dropInnerCopies(metadata map[string]json.RawMessage) {
	raw, ok := metadata["annotations"]
	if !ok {
		return
	}
	var annotations map[string]json.RawMessage
	if err := json.Unmarshal(raw, &annotations); err != nil {
		delete(metadata, "annotations")
		return
	}
	delete(annotations, changeCause)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if clean, err := json.Marshal(annotations); err == nil { // it was JSON before
		metadata["annotations"] = clean
	}
}

// pick parses a JSON object and keeps the named fields.
func pick(raw []byte, fields []string) (map[string]json.RawMessage, bool) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, false
	}
	maps.DeleteFunc(object, func(field string, _ json.RawMessage) bool { return !slices.Contains(fields, field) })
	return object, true
}
