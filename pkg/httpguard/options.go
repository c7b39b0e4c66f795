// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
)

// checkOptions decodes and validates the options of a write as the handlers will, since their errors quote what was sent
// and where in the library it was read. The codes are those of the handlers: 400 for what cannot be decoded, 422 for a
// value that an option does not have.
func checkOptions(r *http.Request, body []byte) error {
	query := r.URL.Query()
	switch r.Method {
	case http.MethodPost:
		options := &metav1.CreateOptions{}
		return firstFault("CreateOptions", fromQuery(query, options), func() field.ErrorList {
			return metav1validation.ValidateCreateOptions(options)
		})
	case http.MethodPut:
		options := &metav1.UpdateOptions{}
		return firstFault("UpdateOptions", fromQuery(query, options), func() field.ErrorList {
			return metav1validation.ValidateUpdateOptions(options)
		})
	case http.MethodPatch:
		if formatOf(r) == formatUnchecked {
			return nil // the handler answers 415 first
		}
		options := &metav1.PatchOptions{}
		return firstFault("PatchOptions", fromQuery(query, options), func() field.ErrorList {
			return metav1validation.ValidatePatchOptions(options, patchTypeOf(r))
		})
	default:
		options := &metav1.DeleteOptions{}
		err := fromQuery(query, options)
		if len(body) > 0 {
			err = fromBody(r, body, options)
		}
		return firstFault("DeleteOptions", err, func() field.ErrorList { return metav1validation.ValidateDeleteOptions(options) })
	}
}

// firstFault returns err, or what validate finds, without the values that it quotes.
func firstFault(kind string, err error, validate func() field.ErrorList) error {
	if err != nil {
		return err
	}
	faults := validate()
	if len(faults) == 0 {
		return nil
	}
	for _, fault := range faults {
		fault.BadValue = field.OmitValueType{}
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", faults)
}

func fromQuery(query url.Values, options runtime.Object) error {
	if metainternalversionscheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, options) != nil {
		return refuse(textBadQuery)
	}
	return nil
}

func fromBody(r *http.Request, body []byte, options *metav1.DeleteOptions) error {
	codecs := metainternalversionscheme.Codecs
	serializer, err := negotiation.NegotiateInputSerializer(r, false, codecs)
	if err != nil {
		return nil //nolint:nilerr // the handler answers 415
	}
	kind := metav1.SchemeGroupVersion.WithKind("DeleteOptions")
	decoded, _, err := codecs.DecoderToVersion(serializer.Serializer, kind.GroupVersion()).Decode(body, &kind, options)
	if err != nil || decoded != options {
		return refuse(textNotDeleteOptions)
	}
	return nil
}
