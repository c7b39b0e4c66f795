// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/util/sets"
	apiaudit "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// MaxNames is how many names one call takes: they are read in one etcd transaction.
const MaxNames = sealed.MaxOpen

// readTimeout bounds the transaction.
const readTimeout = 5 * time.Second

// Reader reads records and opens those that are let through. *sealed.Opener is one.
type Reader interface {
	Read(ctx context.Context, namespace string, names []string) (*sealed.Reading, error)
	Open(ctx context.Context, record *sealed.Record) (sensitive.Value, error)
}

// ServiceConfig is what NewService needs.
type ServiceConfig struct {
	// Reader reads and opens.
	Reader Reader
	// Authorizer answers about single rights. It must have no privileged group.
	Authorizer authorizer.Authorizer
	// Recorder is the decrypt audit log.
	Recorder audit.Recorder
	// AllowedDecrypters is the list of --allowed-decrypters.
	AllowedDecrypters []string
	// AuthzCacheTTL is how old an answer of the Authorizer may be.
	AuthzCacheTTL time.Duration
	// Tracer records spans; nil records none.
	Tracer trace.Tracer
}

// Service opens values. It knows nothing of HTTP.
type Service struct {
	reader   Reader
	access   *access
	recorder audit.Recorder
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
		pace:     notFoundPace,
		tracer:   config.Tracer,
	}
}

// Request names values and says who asks for them.
type Request struct {
	// User is the authenticated caller.
	User user.Info
	// Namespace and Names are what is asked for. A name that comes twice counts once.
	Namespace string
	Names     []string
	// AuditID and Source go into the audit records: the id of the request and the address of the peer.
	AuditID, Source string
}

// Answer has one Result for each name, in the order of the request.
type Answer struct {
	// Revision is the revision of etcd that was read; 0 when nothing was.
	Revision int64
	Results  []Result
}

// Result is a value, or why there is none.
type Result struct {
	Name    string
	Outcome Outcome
	// Object is what the record says. It is set only when the caller may have the value.
	Object *secret.SecureValue
	// Value is set when Outcome is Released.
	Value sensitive.Value

	reason    audit.Reason
	decrypter string
	record    *sealed.Record
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
		if left := callerLeft(ctx); left != nil {
			return nil, left
		}
		klog.ErrorS(err, "The decrypt audit log cannot be written: no value is released", keyAuditID, r.AuditID)
		return nil, unavailable("the decrypt audit log cannot be written, so nothing is released; try again, or ask the operator")
	}
	countResults(s.access, answer)
	if err := s.keepPace(ctx, started, answer); err != nil {
		return nil, err
	}
	return answer, answer.failure()
}

// record writes the audit records of an answer.
func (s *Service) record(ctx context.Context, answer *Answer, r *Request) error {
	ctx, end := s.stage(ctx, "write audit records")
	defer end()
	return s.recorder.Record(ctx, answer.records(r)...)
}

// grants are what the caller may do, settled before anything is read.
type grants struct {
	// decrypt are those of the names, use those of the allowed decrypters that the caller may decrypt and use.
	decrypt, use sets.Set[string]
	// wildcard: the caller may use any decrypter, so it is given nothing.
	wildcard bool
}

// refusal is why a name is not looked up; "" if it is.
func (g *grants) refusal(name string) audit.Reason {
	switch {
	case !g.decrypt.Has(name):
		return audit.ReasonNotAuthorized
	case g.wildcard:
		return audit.ReasonWildcard
	default:
		return ""
	}
}

// authorize asks which of the names the caller may decrypt, which of the allowed decrypters it may use, and, if it could be
// given something, whether it holds a wildcard. The anonymous user may do nothing.
func (s *Service) authorize(ctx context.Context, c caller, names []string) (g grants, err error) {
	if c.user.GetName() == user.Anonymous {
		return g, nil
	}
	ctx, end := s.stage(ctx, "authorize")
	defer end()
	if g.decrypt, err = s.access.mayDecrypt(ctx, c, names); err != nil {
		return g, err
	}
	if g.use, err = s.access.mayUse(ctx, c); err != nil {
		return g, err
	}
	if len(g.decrypt) > 0 && (len(g.use) > 0 || s.access.any) {
		g.wildcard, err = s.access.holdsWildcard(ctx, c)
	}
	return g, err
}

// settle decides about each name: first what the caller may do at all, then, after one read, what each value says.
func (s *Service) settle(ctx context.Context, c caller, names []string) (*Answer, error) {
	granted, err := s.authorize(ctx, c, names)
	if err != nil {
		return nil, authorizerFailed(ctx, err)
	}
	answer := &Answer{Results: make([]Result, len(names))}
	wanted := make([]string, 0, len(names))
	for i, name := range names {
		answer.Results[i] = Result{Name: name, Outcome: NotAuthorized, reason: granted.refusal(name)}
		if answer.Results[i].reason == "" {
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		return answer, nil
	}
	reading, err := s.read(ctx, c.namespace, wanted)
	if err != nil {
		return nil, err
	}
	if s.access.any {
		if granted.use, err = s.access.mayUseOf(ctx, c, decryptersOf(reading)); err != nil {
			return nil, authorizerFailed(ctx, err)
		}
	}
	answer.take(ctx, reading, granted.use)
	return answer, nil
}

func (s *Service) read(ctx context.Context, namespace string, names []string) (*sealed.Reading, error) {
	ctx, end := s.stage(ctx, "read from etcd")
	defer end()
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reading, err := s.reader.Read(bounded, namespace, names)
	if err != nil {
		if left := callerLeft(ctx); left != nil {
			return nil, left
		}
		klog.ErrorS(err, "Could not read secure values to decrypt", keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
		return nil, unavailable("the storage is out of reach; try again")
	}
	return reading, nil
}

// take puts what was read to the names that it is about. Whoever may not use a decrypter of a value learns nothing of it,
// not even that its record is damaged.
func (a *Answer) take(ctx context.Context, reading *sealed.Reading, uses sets.Set[string]) {
	a.Revision = reading.Revision
	next := 0
	for i := range a.Results {
		if next == len(reading.Records) || a.Results[i].Name != reading.Records[next].Name {
			continue
		}
		a.Results[i].take(ctx, &reading.Records[next], uses)
		next++
	}
}

func (r *Result) take(ctx context.Context, record *sealed.Record, uses sets.Set[string]) {
	r.record, r.Outcome = record, NotFound
	switch {
	case record.Err != nil:
		klog.ErrorS(record.Err, "A record of a secure value cannot be used: it was changed", keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
		r.reason = audit.ReasonOpenFailed
		return
	case record.Object == nil:
		r.reason = audit.ReasonAbsent
		return
	case record.Object.DeletionTimestamp != nil: // it waits for its finalizers, and its value is gone
		r.reason = audit.ReasonDeleted
		return
	}
	r.reason = audit.ReasonNotListed
	if at := slices.IndexFunc(record.Object.Spec.Decrypters, uses.Has); at >= 0 {
		r.decrypter = record.Object.Spec.Decrypters[at]
		r.Object, r.Outcome, r.reason = record.Object, Released, audit.ReasonGranted
	}
}

// open decrypts what the caller may have. Its error is that of callerLeft.
func (s *Service) open(ctx context.Context, answer *Answer) error {
	ctx, end := s.stage(ctx, "open")
	defer end()
	for i := range answer.Results {
		r := &answer.Results[i]
		if r.Outcome != Released {
			continue
		}
		v, err := s.reader.Open(ctx, r.record)
		if err == nil {
			r.Value = v
			continue
		}
		if left := callerLeft(ctx); left != nil {
			return left
		}
		r.reason, r.Outcome = audit.ReasonOpenFailed, Failed
		if errors.Is(err, sealed.ErrKeyUnavailable) {
			r.Outcome = KeyUnavailable
		}
		klog.ErrorS(err, "Could not open a secure value", "securevalue", klog.KObj(r.Object), keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
	}
	return nil
}

// decryptersOf is every decrypter that a reading names.
func decryptersOf(reading *sealed.Reading) sets.Set[string] {
	all := sets.New[string]()
	for i := range reading.Records {
		if object := reading.Records[i].Object; object != nil {
			all.Insert(object.Spec.Decrypters...)
		}
	}
	return all
}

// callerLeft is the error of a call whose caller hung up or whose own deadline passed; nil as long as neither happened. It
// is nobody's fault: nothing is logged as an error, and the code is not one that alerts count.
func callerLeft(ctx context.Context) error {
	switch {
	case ctx.Err() == nil || errors.Is(context.Cause(ctx), errRequestTimeout):
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the deadline of the call passed; nothing is released"))
	default:
		return connect.NewError(connect.CodeCanceled, errors.New("the caller hung up; nothing is released"))
	}
}

func unavailable(text string) error {
	return connect.NewError(connect.CodeUnavailable, errors.New(text))
}

func authorizerFailed(ctx context.Context, err error) error {
	if left := callerLeft(ctx); left != nil {
		return left
	}
	klog.ErrorS(err, "Could not ask what a caller may decrypt", keyAuditID, apiaudit.GetAuditIDTruncated(ctx))
	return unavailable("the caller's rights cannot be determined now; try again")
}

// failure is the error of a call that could have released values and released none, because the key of each of them is
// out of reach: clients try again on it. When only some of the values are concerned, their results say so.
func (a *Answer) failure() error {
	waiting := 0
	for i := range a.Results {
		switch a.Results[i].Outcome {
		case Released, Failed:
			return nil
		case KeyUnavailable:
			waiting++
		default:
		}
	}
	if waiting == 0 {
		return nil
	}
	return unavailable(fmt.Sprintf("%s: the encryption key is out of reach; try again", KeyUnavailable.Message()))
}
