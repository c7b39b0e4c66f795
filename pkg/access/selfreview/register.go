// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// AddToScheme registers authorization.k8s.io/v1 and authentication.k8s.io/v1, and the served types once more as the
// internal version, so that a conversion to the hub version, wherever the generic API server makes one, changes nothing.
func AddToScheme(scheme *runtime.Scheme) error {
	if err := authorizationv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("registering %s: %w", authorizationv1.SchemeGroupVersion, err)
	}
	if err := authenticationv1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("registering %s: %w", authenticationv1.SchemeGroupVersion, err)
	}
	scheme.AddKnownTypes(internal(authorizationv1.GroupName),
		&authorizationv1.SelfSubjectAccessReview{},
		&authorizationv1.SelfSubjectRulesReview{},
	)
	scheme.AddKnownTypes(internal(authenticationv1.GroupName), &authenticationv1.SelfSubjectReview{})
	for _, version := range []schema.GroupVersion{authorizationv1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion} {
		if err := scheme.SetVersionPriority(version); err != nil {
			return fmt.Errorf("registering %s: %w", version, err)
		}
	}
	return nil
}

func internal(group string) schema.GroupVersion {
	return schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}
}
