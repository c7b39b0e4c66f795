// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// section is one section of the document: a request that succeeds, and the codes that it lists beside the good one.
type section struct {
	name, method, path, body string
	good                     int
	// notFound is the same request for a name that is absent, where the section lists 404.
	notFound string
	// bad are bodies that get 400, where the section lists it.
	bad []string
	// conflict says that repeating the request gets 409.
	conflict bool
}

func documentedSections() []section {
	const body = `{"metadata":{"name":"codes"},"spec":{"description":"d","value":"v-codes"}}`
	bad := []string{
		`{"metadata":`, `{"metadata":{"name":"codes"},"spec":{"value":"v-codes"}}`,
		`{"metadata":{"name":"codes"},"spec":{"description":"d"}}`,
	}
	one, absent := path("codes", "codes"), path("codes", "absent")
	return []section{
		{name: "Create a secure value", method: http.MethodPost, path: harness.Collection("codes"), body: body,
			good: http.StatusCreated, bad: bad, conflict: true},
		{name: "List secure values", method: http.MethodGet, path: harness.Collection("codes"), good: http.StatusOK},
		{name: "Get a secure value", method: http.MethodGet, path: one, good: http.StatusOK, notFound: absent},
		{name: "Update a secure value", method: http.MethodPut, path: one, body: body, good: http.StatusOK, bad: bad,
			notFound: absent},
		{name: "Delete a secure value", method: http.MethodDelete, path: one, good: http.StatusOK, notFound: absent},
	}
}

// documentedCodes provokes every status code that a section of the document lists.
func (a *api) documentedCodes(t *testing.T) {
	for _, s := range documentedSections() {
		t.Run(s.name, func(t *testing.T) {
			s.unauthorized(t, a)
			request := harness.Request{Method: s.method, Path: s.path, ContentType: jsonType, Body: s.body,
				Token: nobodyToken}
			s.wantStatus(t, a, request, http.StatusForbidden, metav1.StatusReasonForbidden)
			request.Token = editorToken
			for _, body := range s.bad {
				bad := request
				bad.Body = body
				s.wantStatus(t, a, bad, http.StatusBadRequest, "")
			}
			if s.notFound != "" {
				absent := request
				absent.Path = s.notFound
				if s.method == http.MethodPut {
					absent.Body = `{"metadata":{"name":"absent"},"spec":{"description":"d","value":"v-codes"}}`
				}
				s.wantStatus(t, a, absent, http.StatusNotFound, metav1.StatusReasonNotFound)
			}
			if got := a.send(t, request); got.Code != s.good {
				t.Fatalf("want %d, got %d: %s", s.good, got.Code, got.Body)
			}
			if s.conflict {
				s.wantStatus(t, a, request, http.StatusConflict, metav1.StatusReasonAlreadyExists)
			}
		})
	}
	t.Run("a reader may not write", a.readerMayNotWrite)
}

// unauthorized sends the request of nobody that the server knows.
func (s section) unauthorized(t *testing.T, a *api) {
	t.Helper()
	for name, header := range map[string]string{
		"no token": "", "bad token": "Bearer nonsense", "empty token": "Bearer ",
		"basic auth":             "Basic YWRtaW46YWRtaW4=",
		"token without a scheme": editorToken,
	} {
		request := harness.Request{Method: s.method, Path: s.path, ContentType: jsonType, Body: s.body,
			Header: http.Header{}}
		if header != "" {
			request.Header.Set("Authorization", header)
		}
		got := a.send(t, request)
		if got.Code != http.StatusUnauthorized {
			t.Errorf("%s: want 401, got %d: %s", name, got.Code, got.Body)
			continue
		}
		if status := got.Status(t); status.Reason != metav1.StatusReasonUnauthorized {
			t.Errorf("%s: want the reason Unauthorized, got %q", name, status.Reason)
		}
	}
}

func (section) wantStatus(t *testing.T, a *api, r harness.Request, code int, reason metav1.StatusReason) {
	t.Helper()
	got := a.send(t, r)
	if got.Code != code {
		t.Errorf("%s %s %s: want %d, got %d: %s", r.Method, r.Path, r.Body, code, got.Code, got.Body)
		return
	}
	status := got.Status(t)
	if int(status.Code) != code || status.Status != metav1.StatusFailure || status.Message == "" {
		t.Errorf("%s %s: want a Failure with code %d and a message, got %+v", r.Method, r.Path, code, status)
	}
	if reason != "" && status.Reason != reason {
		t.Errorf("%s %s: want the reason %s, got %s", r.Method, r.Path, reason, status.Reason)
	}
}

func (a *api) readerMayNotWrite(t *testing.T) {
	one := path("codes-reader", "one")
	a.create(t, "codes-reader", "one", nil)
	body := `{"metadata":{"name":"one"},"spec":{"description":"d","value":"v-codes"}}`
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{http.MethodGet, harness.Collection("codes-reader"), http.StatusOK},
		{http.MethodGet, one, http.StatusOK},
		{http.MethodPost, harness.Collection("codes-reader"), http.StatusForbidden},
		{http.MethodPut, one, http.StatusForbidden},
		{http.MethodDelete, one, http.StatusForbidden},
		{http.MethodDelete, harness.Collection("codes-reader"), http.StatusForbidden},
	} {
		got := a.send(t, harness.Request{Method: c.method, Path: c.path, ContentType: jsonType, Body: body,
			Token: readerToken})
		if got.Code != c.code {
			t.Errorf("%s %s as reader: want %d, got %d: %s", c.method, c.path, c.code, got.Code, got.Body)
		}
	}
	// The right to read says nothing about a name that the caller may not write: 403 comes before 404 and before 400.
	got := a.send(t, harness.Request{Method: http.MethodPut, Path: path("codes-reader", "absent"),
		ContentType: jsonType, Body: "{", Token: readerToken})
	if got.Code != http.StatusForbidden {
		t.Errorf("PUT of an absent name as reader: want 403, got %d", got.Code)
	}
}
