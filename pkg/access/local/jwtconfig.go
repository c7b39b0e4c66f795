// SPDX-License-Identifier: Apache-2.0

package local

import (
	"bytes"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
)

// newConfigDecoder returns a strict decoder of apiserver.config.k8s.io: unknown and repeated fields are errors.
func newConfigDecoder() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
}

// parseConfig reads an AuthenticationConfiguration, defaulted and validated as the Kubernetes API server does.
func parseConfig(decoder runtime.Decoder, compiler authenticationcel.Compiler, data []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty, want an AuthenticationConfiguration of apiserver.config.k8s.io/v1")
	}
	obj, err := runtime.Decode(decoder, data)
	if err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	config, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("holds a %T, want an AuthenticationConfiguration", obj)
	}
	errs := validation.ValidateAuthenticationConfiguration(compiler, config, nil)
	return config, append(errs, unsupported(config)...).ToAggregate()
}

// unsupported finds what this server would otherwise silently ignore.
func unsupported(config *apiserver.AuthenticationConfiguration) field.ErrorList {
	var errs field.ErrorList
	if config.Anonymous != nil {
		errs = append(errs, field.Forbidden(field.NewPath("anonymous"), "anonymous requests are for the health paths only, remove this field"))
	}
	for i, jwt := range config.JWT {
		if jwt.Issuer.EgressSelectorType != "" {
			errs = append(errs, field.Forbidden(field.NewPath("jwt").Index(i).Child("issuer", "egressSelectorType"), "this server has no egress selector, remove this field"))
		}
	}
	return errs
}
