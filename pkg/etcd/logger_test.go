// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/txn"
	"go.uber.org/zap"
)

var (
	errCause    = errors.New("the cause")
	startOfTime time.Time // so that a request since then took long
)

// What etcd logs of a slow or failed request holds sizes, and each line is one JSON object.
func TestLoggedRequestsHoldNoValue(t *testing.T) {
	const canary = "canary-6f1d"
	log := &lockedBuffer{}
	hook := newHook(false)
	hook.phase.Store(serving)
	lg := hook.logger(log)
	put := &pb.PutRequest{Key: []byte("/k"), Value: []byte(canary)}
	request := &pb.InternalRaftRequest{Header: &pb.RequestHeader{}, Txn: &pb.TxnRequest{
		Compare: []*pb.Compare{{TargetUnion: &pb.Compare_Value{Value: []byte(canary)}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	}}
	txn.WarnOfFailedRequest(lg, startOfTime, &pb.InternalRaftStringer{Request: request}, nil, nil)
	txn.WarnOfExpensiveRequest(lg, 0, startOfTime, &pb.InternalRaftStringer{Request: &pb.InternalRaftRequest{Header: &pb.RequestHeader{}, Put: put}}, nil, nil)
	lg.Info("below the level")

	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines logged, want 2:\n%s", len(lines), log)
	}
	for _, line := range lines {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("not JSON: %s", line)
		}
		if strings.Contains(line, canary) || !strings.Contains(line, "value_size:11") {
			t.Errorf("want the value's size and not the value: %s", line)
		}
	}
}

// The member that a tool runs for itself leaves its log out, and still shows why it ended the process.
func TestAToolsMemberIsQuiet(t *testing.T) {
	hook := newHook(true)
	for _, phase := range []int32{starting, serving, stopping} {
		hook.phase.Store(phase)
		if hook.enabled(zap.WarnLevel) || hook.enabled(zap.ErrorLevel) {
			t.Errorf("phase %d: it logs", phase)
		}
		if want := phase != starting; hook.enabled(zap.FatalLevel) != want { // that of a start is the error of Start
			t.Errorf("phase %d: the end of the process is logged: %v, want %v", phase, !want, want)
		}
	}
}

// The same over a live member whose every request counts as slow.
func TestSlowRequestsOfALiveMember(t *testing.T) {
	const canary = "canary-93ab"
	log := &lockedBuffer{}
	s, err := Start(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "etcd"), LogOutput: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.etcd.Server.Cfg.WarningApplyDuration, s.etcd.Server.Cfg.WarningUnaryRequestDuration = -1, -1
	c := dial(t, s)
	if _, err := c.Put(t.Context(), "/k", canary); err != nil {
		t.Fatal(err)
	}
	_, err = c.Txn(t.Context()).If(clientv3.Compare(clientv3.Value("/k"), "=", canary)).Then(clientv3.OpPut("/k", canary+canary)).Commit()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "/k"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "took too long") {
		t.Errorf("nothing was logged as slow:\n%s", log)
	}
	if strings.Contains(log.String(), canary) {
		t.Errorf("the log holds a value:\n%s", log)
	}
}

// After start a fatal entry must be printed: the process ends with it.
func TestFatalIsPrintedOnceServing(t *testing.T) {
	log := &lockedBuffer{}
	hook := newHook(false)
	lg := hook.logger(log)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lg.Fatal("cannot start", zap.Error(errCause))
	}()
	<-ended
	if err := <-hook.failed; err.Error() != "cannot start: the cause" {
		t.Errorf("failure during start = %v", err)
	}
	if log.String() != "" {
		t.Errorf("printed during start, where the caller prints it: %s", log)
	}
	hook.phase.Store(serving)
	defer func() {
		if recover() == nil {
			t.Error("a panic entry while serving does not panic")
		}
		if !strings.Contains(log.String(), "cannot go on") {
			t.Errorf("the reason is not printed: %s", log)
		}
	}()
	lg.Panic("cannot go on")
}
