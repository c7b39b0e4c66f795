// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const watchPath = "/secretwatch.v1.SecureValueWatcher/Watch"

// events receives the events of a stream.
type events struct {
	t    *testing.T
	next func() (*secretwatchv1.WatchEvent, error)
}

// want wants an event, and returns the uid of the secure value.
func (e events) want(name string, version int64) string {
	e.t.Helper()
	event, err := e.next()
	if err != nil || event.GetName() != name || event.GetVersion() != version || (event.GetUid() == "") != (version == 0) {
		e.t.Fatalf("%v, %v; want %s at %d", event, err, name, version)
	}
	return event.GetUid()
}

func watchByConnect(t *testing.T, s *harness.Server, options ...connect.ClientOption) events {
	t.Helper()
	client := secretwatchv1connect.NewSecureValueWatcherClient(s.HTTPClient(), s.DecryptURL, options...)
	request := connect.NewRequest(&secretwatchv1.WatchRequest{Namespace: namespace, Names: []string{"a", "b"}})
	request.Header().Set("Authorization", "Bearer "+k6Token)
	stream, err := client.Watch(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return events{t, func() (*secretwatchv1.WatchEvent, error) {
		if !stream.Receive() {
			return nil, stream.Err()
		}
		return stream.Msg(), nil
	}}
}

func watchByGRPC(t *testing.T, s *harness.Server) events {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+k6Token)
	stream, err := dial(t, s).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watchPath)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&secretwatchv1.WatchRequest{Namespace: namespace, Names: []string{"a", "b"}}); err != nil {
		t.Fatal(err)
	}
	return events{t, func() (*secretwatchv1.WatchEvent, error) {
		event := &secretwatchv1.WatchEvent{}
		return event, stream.RecvMsg(event)
	}}
}

// TestWatch follows a value through its life, by every protocol, until the server stops.
func TestWatch(t *testing.T) {
	for _, flag := range []string{"--watch-cache=true", "--watch-cache=false"} {
		t.Run(flag, func(t *testing.T) {
			s := start(t, flag)
			canary := harness.Canary()
			s.Create(t, namespace, "a", canary+"-1", "k6-cloud")
			streams := map[string]events{
				"Connect": watchByConnect(t, s), "Connect with JSON": watchByConnect(t, s, connect.WithProtoJSON()),
				"gRPC-Web": watchByConnect(t, s, connect.WithGRPCWeb()), "gRPC": watchByGRPC(t, s),
			}
			want := func(name string, version int64) (uid string) {
				t.Helper()
				for _, stream := range streams {
					uid = stream.want(name, version)
				}
				return uid
			}
			object := harness.Collection(namespace) + "/a"
			patch := func(body string) {
				t.Helper()
				s.Do(t, harness.Request{
					Method: http.MethodPatch, Path: object, Token: s.AdminToken, ContentType: "application/merge-patch+json", Body: body,
				}).Want(t, ok)
			}
			first := want("a", 1)
			want("b", 0)
			if n := s.Metric(t, "secret_decrypt_watches"); n != float64(len(streams)) {
				t.Errorf("the metric counts %v streams", n)
			}
			patch(`{"spec":{"value":"` + canary + `-2"}}`)
			want("a", 2)
			patch(`{"metadata":{"labels":{"x":"y"}}}`)
			patch(`{"spec":{"decrypters":["synthetic-monitoring"]}}`)
			want("a", 0)
			patch(`{"spec":{"decrypters":["synthetic-monitoring","k6-cloud"]}}`)
			want("a", 2)
			s.Do(t, harness.Request{Method: http.MethodDelete, Path: object, Token: s.AdminToken}).Want(t, ok)
			want("a", 0)
			s.Create(t, namespace, "a", canary+"-3", "k6-cloud")
			second := want("a", 1)
			if second == first {
				t.Error("a secure value that was created again has the same uid")
			}
			s.Create(t, namespace, "b", canary+"-4", "k6-cloud")
			want("b", 1)

			wantState(t, s, 1, second)
			wantWatchRecords(t, s, len(streams))
			s.Stop(t)
			for protocol, stream := range streams {
				if event, err := stream.next(); err == nil {
					t.Errorf("%s: %v after the server stopped", protocol, event)
				}
			}
			s.OutputLeaks(t, canary)
		})
	}
}

// wantState wants what the events have with the value of a, by GET and by RPC.
func wantState(t *testing.T, s *harness.Server, version int64, uid string) {
	t.Helper()
	var got struct {
		Version int64
		UUID    string
	}
	if err := json.Unmarshal(get(t, s, k6Token, namespace, "a").Body, &got); err != nil || got.Version != version || got.UUID != uid {
		t.Errorf("GET: version %d of %s, %v", got.Version, got.UUID, err)
	}
	opened, err := callGRPC(t.Context(), dial(t, s), nil, namespace, "a", "absent")
	if err != nil || opened["a"].GetVersion() != version || opened["a"].GetUid() != uid || opened["absent"].GetVersion() != 0 || opened["absent"].GetUid() != "" {
		t.Errorf("RPC: version %d of %s, %v", opened["a"].GetVersion(), opened["a"].GetUid(), err)
	}
}

// wantWatchRecords wants one record for each stream, which audit verify does not count as a release.
func wantWatchRecords(t *testing.T, s *harness.Server, streams int) {
	t.Helper()
	for line := range strings.Lines(string(harness.ReadFile(t, filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")))) {
		var record struct{ Kind, Name, Decision, User string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Kind == "watch" && record.Name == "a,b" && record.Decision == "allow" && record.User == "k6" {
			streams--
		}
	}
	if streams != 0 {
		t.Errorf("%d records of streams are missing", streams)
	}
	report, _, code := harness.Tool(t, "audit", "verify", "--key-file", filepath.Join(s.DataDir, "decrypt-audit.key"),
		filepath.Join(s.DataDir, "decrypt-audit"))
	if code != 0 || !strings.Contains(report, "2 allowed") {
		t.Errorf("audit verify: %d, %s", code, report)
	}
}

// TestWatchIsBounded in number, for each caller and for all, and asks who its caller is.
func TestWatchIsBounded(t *testing.T) {
	s := start(t, "--decrypt-max-watches=8")
	s.Create(t, namespace, "a", harness.Canary(), "k6-cloud")
	watchByConnect(t, s).want("a", 1)
	watchByConnect(t, s).want("a", 1) // a quarter
	for token, code := range map[string]connect.Code{
		k6Token: connect.CodeResourceExhausted, s.AdminToken: connect.CodePermissionDenied, "unknown": connect.CodeUnauthenticated,
	} {
		client := secretwatchv1connect.NewSecureValueWatcherClient(s.HTTPClient(), s.DecryptURL)
		request := connect.NewRequest(&secretwatchv1.WatchRequest{Namespace: namespace, Names: []string{"a"}})
		request.Header().Set("Authorization", "Bearer "+token)
		stream, err := client.Watch(t.Context(), request)
		if err == nil {
			if stream.Receive() {
				t.Errorf("want %v, got an event", code)
			}
			err = stream.Err()
		}
		if connect.CodeOf(err) != code {
			t.Errorf("%v, want %v", err, code)
		}
	}
}
