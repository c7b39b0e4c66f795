// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/util/sets"
	apiaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// readTimeout bounds the etcd transaction.
const readTimeout = 5 * time.Second

// Reader reads records and opens those whose value is released. *sealed.Opener is one.
type Reader interface {
	Read(ctx context.Context, namespace string, names []string) (*sealed.Reading, error)
	Open(ctx context.Context, record *sealed.Record) (sensitive.Value, error)
}

// ServiceConfig is what NewService needs.
type ServiceConfig struct {
	// Reader reads and opens.
	Reader Reader
	// Authorizer decides about single permissions. It must have no privileged group.
	Authorizer authorizer.Authorizer
	// Recorder is the decrypt audit log.
	Recorder audit.Recorder
	// Changes wake the streams of Watch.
	Changes *Changes
	// AllowedDecrypters is the list of --allowed-decrypters.
	AllowedDecrypters []string
	// AuthzCacheTTL is how long decisions of the Authorizer are cached.
	AuthzCacheTTL time.Duration
	// Tracer records spans; nil records none.
	Tracer trace.Tracer
}

// Service opens values. It is independent of HTTP.
type Service struct {
	reader   Reader
	access   *access
	recorder audit.Recorder
	changes  *Changes
	pace     time.Duration
	tracer   trace.Tracer
}

// NewService returns a Service.
func NewService(config ServiceConfig) *Service {
	registerMetrics()
	return &Service{
		reader:   config.Reader,
		access:   newAccess(config.Authorizer, config.AllowedDecrypters, config.AuthzCacheTTL),
		recorder: config.Recorder,
		changes:  config.Changes,
		pace:     notFoundPace,
		tracer:   config.Tracer,
	}
}

// Decrypt opens values. An error (always a *connect.Error) concerns the call as a whole and means that nothing is
// released; its text is for the caller.
func (s *Service) Decrypt(ctx context.Context, r Request) (*Answer, error) {
	if err := r.normalise(); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	answer, err := s.decrypt(ctx, &r)
	s.annotate(ctx, &r, answer, err)
	return answer, err
}

func (s *Service) decrypt(ctx context.Context, r *Request) (*Answer, error) {
	started := time.Now()
	answer, err := s.settle(ctx, newCaller(r.User, r.Namespace), r.Names)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx, answer); err != nil {
		return nil, err
	}
	if err := s.record(ctx, answer, r); err != nil {
		return nil, unavailableUnlessGone(ctx, err, "The decrypt audit log cannot be written: no value is released",
			"the decrypt audit log cannot be written, so nothing is released; retry later, or ask the operator")
	}
	countResults(s.access, answer)
	if err := s.keepPace(ctx, started, answer.count(textNotFound) > 0); err != nil {
		return nil, err
	}
	return answer, answer.err()
}

// record writes the audit records of an answer.
func (s *Service) record(ctx context.Context, answer *Answer, r *Request) error {
	ctx, end := s.stage(ctx, "write audit records")
	defer end()
	return s.recorder.Record(ctx, answer.records(r)...)
}

const authorizerDown = "Could not determine what a caller may decrypt"

// settle decides about each name: first by the caller's permissions, then, after one read, by what each value says.
func (s *Service) settle(ctx context.Context, c caller, names []string) (*Answer, error) {
	granted, err := s.authorize(ctx, c, names)
	if err != nil {
		return nil, unavailableUnlessGone(ctx, err, authorizerDown, textAuthorizerDown)
	}
	answer := &Answer{Results: make([]Result, len(names))}
	readable := make([]string, 0, len(names))
	for i, name := range names {
		refused, ok := granted.refusal(name)
		answer.Results[i] = Result{Name: name, outcome: refused}
		if ok {
			readable = append(readable, name)
		}
	}
	if len(readable) == 0 {
		return answer, nil
	}
	reading, err := s.read(ctx, c.namespace, readable)
	if err != nil {
		return nil, err
	}
	if s.access.any {
		if granted.use, err = s.access.mayUse(ctx, c, sets.List(decryptersOf(reading))); err != nil {
			return nil, unavailableUnlessGone(ctx, err, authorizerDown, textAuthorizerDown)
		}
	}
	answer.Revision = reading.Revision
	next := 0
	for i := range answer.Results {
		if next < len(reading.Records) && answer.Results[i].Name == reading.Records[next].Name {
			answer.Results[i].settle(ctx, &reading.Records[next], granted.use)
			next++
		}
	}
	return answer, nil
}

// decryptersOf returns every decrypter that a reading names.
func decryptersOf(reading *sealed.Reading) sets.Set[string] {
	all := sets.New[string]()
	for i := range reading.Records {
		if object := reading.Records[i].Object; object != nil {
			all.Insert(object.Spec.Decrypters...)
		}
	}
	return all
}

func (s *Service) read(ctx context.Context, namespace string, names []string) (*sealed.Reading, error) {
	ctx, end := s.stage(ctx, "read from etcd")
	defer end()
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reading, err := s.reader.Read(bounded, namespace, names)
	if err != nil {
		return nil, unavailableUnlessGone(ctx, err, "Could not read secure values to decrypt",
			"storage unavailable; retry later")
	}
	return reading, nil
}

// open decrypts what the caller may have. Its error is that of callerGone.
func (s *Service) open(ctx context.Context, answer *Answer) error {
	ctx, end := s.stage(ctx, "open")
	defer end()
	for i := range answer.Results {
		r := &answer.Results[i]
		if r.outcome != released {
			continue
		}
		v, err := s.reader.Open(ctx, r.record)
		if err == nil {
			r.Value = v
			continue
		}
		if gone := callerGone(ctx); gone != nil {
			return gone
		}
		r.outcome = failed
		if errors.Is(err, sealed.ErrKeyUnavailable) {
			r.outcome = keyUnavailable
		}
		klog.ErrorS(err, "Could not open a secure value", "securevalue", klog.KObj(r.Object),
			keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
	}
	return nil
}

// notFoundPace is the grid on which an answer with a "not found" leaves: the time to read and decode a value that the
// caller may not see is rounded away. Services ask for names that exist, so they do not wait.
const notFoundPace = 5 * time.Millisecond

// keepPace waits for the grid if a name was looked up and not found.
func (s *Service) keepPace(ctx context.Context, started time.Time, notFound bool) error {
	if !notFound {
		return nil
	}
	timer := time.NewTimer(s.pace - time.Since(started)%s.pace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		if gone := callerGone(ctx); gone != nil {
			return gone
		}
		return unavailable(errRequestTimeout.Error())
	case <-timer.C:
		return nil
	}
}

// callerGone is the error of a call whose caller hung up or whose own deadline passed, otherwise nil. The server is not
// at fault: nothing is logged as an error, and the code is not one that alerts count.
func callerGone(ctx context.Context) error {
	switch {
	case ctx.Err() == nil || errors.Is(context.Cause(ctx), errRequestTimeout):
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded,
			errors.New("the deadline of the call passed; nothing is released"))
	default:
		return connect.NewError(connect.CodeCanceled, errors.New("the caller hung up; nothing is released"))
	}
}

const textAuthorizerDown = "the caller's permissions cannot be determined; retry later"

// unavailableUnlessGone logs err under message and returns text to the caller, unless it is gone.
func unavailableUnlessGone(ctx context.Context, err error, message, text string) error {
	if gone := callerGone(ctx); gone != nil {
		return gone
	}
	klog.ErrorS(err, message, keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
	return unavailable(text)
}

func unavailable(text string) error {
	return connect.NewError(connect.CodeUnavailable, errors.New(text))
}
