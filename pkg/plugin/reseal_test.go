// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

// keyServer answers with sealing keys, and to a reseal with a text.
type keyServer struct {
	keys   []v1beta1.SealingKey
	answer string
}

func (k *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any = v1beta1.SealingKeyList{Items: k.keys,
		TypeMeta: metav1.TypeMeta{APIVersion: "secret.grafana.app/v1beta1", Kind: "SealingKeyList"}}
	if r.Method == http.MethodPost {
		answer = v1beta1.SecureValueReseal{Status: v1beta1.SecureValueResealStatus{SealedValue: k.answer},
			TypeMeta: metav1.TypeMeta{APIVersion: "secret.grafana.app/v1beta1", Kind: "SecureValueReseal"}}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func sealingKey(key *sealing.PublicKey, active bool) v1beta1.SealingKey {
	return v1beta1.SealingKey{ObjectMeta: metav1.ObjectMeta{Name: key.ID()},
		Spec:   v1beta1.SealingKeySpec{PublicKey: key.Bytes(), Suite: sealing.Suite},
		Status: v1beta1.SealingKeyStatus{Active: active}}
}

// TestKeysOfTheServer: a value is sealed to the one active key, and to none that may have been replaced on its way.
func TestKeysOfTheServer(t *testing.T) {
	s, other := newSealTest(t), newSealTest(t)
	handler := &keyServer{}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	active, old := sealingKey(s.key.Public(), true), sealingKey(other.key.Public(), false)
	renamed, suite, cut := active, active, active
	renamed.Name = old.Name
	suite.Spec.Suite = "sv2"
	cut.Spec.PublicKey = cut.Spec.PublicKey[1:]
	for what, c := range map[string]struct {
		keys []v1beta1.SealingKey
		want string
	}{
		"none":          {nil, "0 active sealing keys"},
		"none active":   {[]v1beta1.SealingKey{old}, "0 active sealing keys"},
		"two active":    {[]v1beta1.SealingKey{active, sealingKey(other.key.Public(), true)}, "2 active sealing keys"},
		"another key":   {[]v1beta1.SealingKey{renamed}, "is not named after its public key"},
		"another suite": {[]v1beta1.SealingKey{suite}, `suite "sv2"`},
		"cut":           {[]v1beta1.SealingKey{cut}, "invalid public key"},
	} {
		handler.keys = c.keys
		if _, _, err := run(t, sealable, "seal", "-f", "-", "-s", server.URL); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	handler.keys = []v1beta1.SealingKey{active, old}
	if out, _, err := run(t, sealable, "seal", "-f", "-", "-s", server.URL); err != nil || s.opens(t, out) != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestResealAnswers: a text that is not what was asked for does not get into a manifest.
func TestResealAnswers(t *testing.T) {
	s, other := newSealTest(t), newSealTest(t)
	handler := &keyServer{keys: []v1beta1.SealingKey{sealingKey(s.key.Public(), true)}}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	binding := sealing.Binding{Namespace: "of-context", Name: "db", Decrypters: []string{"billing", "k6-cloud"}}
	text := func(s *sealTest) string {
		sealed, err := s.key.Public().Seal([]byte(sealCanary), binding)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	in := strings.Replace(sealable, "value: "+sealCanary, "sealedValue: "+text(other), 1)
	dated := text(s)
	dated = strings.Replace(dated, "::", ":32503680000:", 1)
	for what, answer := range map[string]string{"nothing": "", "the same": text(other), "another date": dated} {
		handler.answer = answer
		if _, _, err := run(t, in, "reseal", "-f", "-", "-s", server.URL); err == nil ||
			!strings.Contains(err.Error(), "the server did not return a text of its active key") {
			t.Errorf("%s: %v", what, err)
		}
	}
	handler.answer = text(s)
	out, errOut, err := run(t, in, "reseal", "-f", "-", "-s", server.URL)
	if err != nil || !strings.Contains(out, "  sealedValue: "+handler.answer+"\n") ||
		!strings.Contains(errOut, "values sealed again: 1") {
		t.Errorf("%v\n%s%s", err, out, errOut)
	}
	if strings.Contains(out, "namespace:") {
		t.Error("reseal added a namespace")
	}
	handler.answer = "" // a text of the active key is not sent
	if same, _, err := run(t, out, "reseal", "-f", "-", "-s", server.URL); err != nil || same != out {
		t.Errorf("sealed to the active key: %v, changed: %t", err, same != out)
	}
	if _, _, err := run(t, strings.Replace(in, "sv1:", "sv2:", 1), "reseal", "-f", "-", "-s", server.URL); err == nil ||
		!strings.Contains(err.Error(), "document 1: spec.sealedValue: unknown suite") {
		t.Errorf("%v", err)
	}
}
