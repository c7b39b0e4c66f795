// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	"fmt"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// Convert_secret_SecureValue_To_v1beta1_SecureValue drops the sealed bytes: no served version has them.
//
//nolint:revive // the name conversion-gen looks for
func Convert_secret_SecureValue_To_v1beta1_SecureValue(in *secret.SecureValue, out *SecureValue,
	s conversion.Scope) error {
	return autoConvert_secret_SecureValue_To_v1beta1_SecureValue(in, out, s)
}

// Convert_v1beta1_SecureValueStatus_To_secret_SecureValueStatus drops externalID, which is accepted and not kept.
//
//nolint:revive // the name conversion-gen looks for
func Convert_v1beta1_SecureValueStatus_To_secret_SecureValueStatus(in *SecureValueStatus,
	out *secret.SecureValueStatus, s conversion.Scope) error {
	return autoConvert_v1beta1_SecureValueStatus_To_secret_SecureValueStatus(in, out, s)
}

// Convert_secret_SecureValueList_To_v1beta1_SecureValueList names version and kind on every item, as the user's
// document shows them ("List secure values"); core lists leave them out.
//
//nolint:revive // the name conversion-gen looks for
func Convert_secret_SecureValueList_To_v1beta1_SecureValueList(in *secret.SecureValueList, out *SecureValueList,
	s conversion.Scope) error {
	if err := autoConvert_secret_SecureValueList_To_v1beta1_SecureValueList(in, out, s); err != nil {
		return err
	}
	for i := range out.Items {
		out.Items[i].SetGroupVersionKind(SchemeGroupVersion.WithKind(secret.GroupKind.Kind))
	}
	return nil
}

func init() {
	localSchemeBuilder.Register(addFieldLabelConversion)
}

func addFieldLabelConversion(scheme *runtime.Scheme) error {
	return scheme.AddFieldLabelConversionFunc(SchemeGroupVersion.WithKind(secret.GroupKind.Kind), convertFieldLabel)
}

// convertFieldLabel never quotes the selected value: a client may try spec.value.
func convertFieldLabel(label, value string) (string, string, error) {
	switch label {
	case "metadata.name", "metadata.namespace":
		return label, value, nil
	case secret.FieldSelectorDecrypter:
		return secret.DecrypterSelectorPrefix + value, "true", nil
	default:
		return "", "",
			fmt.Errorf("field selectors are only supported for metadata.name, metadata.namespace and %s",
				secret.FieldSelectorDecrypter)
	}
}

func init() {
	localSchemeBuilder.Register(addDefaultingFuncs)
}

// addDefaultingFuncs registers the generated defaults, of which there are none: every field is set by the writer or the
// server.
func addDefaultingFuncs(scheme *runtime.Scheme) error {
	return RegisterDefaults(scheme)
}
