// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
)

// readyPoll is how often readiness is asked for while the server starts.
const readyPoll = 20 * time.Millisecond

// waitReady returns nil once /readyz answers 200, asked through the server's own loopback client, and an error when ctx
// ends before.
func waitReady(ctx context.Context, loopback *restclient.Config) error {
	config := restclient.CopyConfig(loopback)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := restclient.UnversionedRESTClientFor(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		return client.Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
}

// withNotices adds what the operator should know of a server that is ready all the same to the answer of /readyz?verbose, a line
// each: [!] and the text. A notice that has nothing to say returns "".
func withNotices(next http.Handler, notices []func() string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || !r.URL.Query().Has("verbose") {
			next.ServeHTTP(w, r)
			return
		}
		answer := &answerWithCode{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(answer, r)
		if answer.code != http.StatusOK {
			return // of a failing server, or to one who may not ask
		}
		for _, notice := range notices {
			if text := notice(); text != "" {
				_, _ = fmt.Fprintf(w, "[!]%s\n", text) // the client is gone
			}
		}
	})
}

type answerWithCode struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (a *answerWithCode) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap lets the handlers reach the deadlines of the connection.
func (a *answerWithCode) Unwrap() http.ResponseWriter { return a.ResponseWriter }
