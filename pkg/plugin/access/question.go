// SPDX-License-Identifier: Apache-2.0

package access

import (
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// value is what is asked about.
type value struct {
	namespace, name string
	decrypters      []string
}

// decrypt asks for the right on the value itself.
func (v value) decrypt(who user.Info) authorizer.AttributesRecord {
	return v.question(who, "decrypt", secret.Resource, v.name)
}

// use asks for the right on one of its decrypters.
func (v value) use(who user.Info, decrypter string) authorizer.AttributesRecord {
	return v.question(who, "use", "decrypters", decrypter)
}

func (v value) question(who user.Info, verb, resource, name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: who, Verb: verb, Namespace: v.namespace, Name: name, ResourceRequest: true,
		APIGroup: secret.GroupName, APIVersion: v1beta1.SchemeGroupVersion.Version, Resource: resource,
	}
}
