// SPDX-License-Identifier: Apache-2.0

package access

import (
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

// value is what is asked about.
type value struct {
	namespace, name string
	decrypters      []string
	// deleted: it waits for its finalizers, and its value is gone.
	deleted bool
}

// decrypt asks for the right on the value itself.
func (v value) decrypt(who user.Info) authorizer.AttributesRecord {
	return rights.Decrypt(who, v.namespace, v.name)
}

// use asks for the right on one of its decrypters.
func (v value) use(who user.Info, decrypter string) authorizer.AttributesRecord {
	return rights.Use(who, v.namespace, decrypter)
}

// useAny asks for the right on every decrypter, by one that does not exist.
func (v value) useAny(who user.Info) authorizer.AttributesRecord {
	return v.use(who, rights.RandomDecrypter())
}
