// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	namespace = "default"
	decrypter = "k6-cloud"
	// requestTimeout is when a client gives up. A server that is stopped for a moment may answer later.
	requestTimeout = 4 * time.Second
	// canaryMark is in every value and in nothing else.
	canaryMark = "canary-"
	// The labels of an object: the write that made it as it is, and what lists select by.
	opLabel, epochLabel = "robustness/op", "robustness/epoch"
)

// object is the part of a SecureValue that clients look at.
type object struct {
	Metadata struct {
		Name            string            `json:"name"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
	} `json:"metadata"`
	Status objectStatus `json:"status"`
	// Reason and Message are those of a Status.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// objectStatus is an object in a SecureValue, and a word in a Status.
type objectStatus struct {
	Version int64
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *objectStatus) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return nil
	}
	var fields struct {
		Version int64 `json:"version"`
	}
	err := json.Unmarshal(data, &fields)
	s.Version = fields.Version
	return err
}

func (o *object) output() Output {
	revision, _ := strconv.ParseInt(o.Metadata.ResourceVersion, 10, 64) // 0 fails every check
	return Output{Result: OK, ResourceVersion: revision, Version: o.Status.Version, Op: o.Metadata.Labels[opLabel]}
}

// client does one operation after the other, on either server, and records each.
type client struct {
	id      int
	env     *environment
	history *History
	seen    map[string]int64 // the last resourceVersion that it read, by name
	failure error            // why the last operation has no answer
	made    int              // names that fresh made
}

// Why an operation has no answer. After the first three, it surely did not happen.
var (
	errNotSent      = errors.New("not sent")
	errKeyAway      = errors.New("encryption key unavailable; nothing was changed")
	errKeyRetired   = errors.New("of this server is retired; nothing was changed")
	errDatabaseFull = errors.New("database space exceeded")
)

// answer is what came back.
type answer struct {
	code    int
	auditID string
	body    []byte
}

// send sends a request to the API port, or to the decrypt port when the path is its.
func (c *client) send(ctx context.Context, server int, method, path, contentType, body string) (answer, error) {
	s := c.env.servers[server].get()
	base, token := s.URL, s.AdminToken
	if strings.HasPrefix(path, "/decrypt/") {
		base, token = s.DecryptURL, decryptToken
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, errNotSent
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	c.history.sent()
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
			return answer{}, errNotSent
		}
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if base == s.URL && strings.Contains(string(data), canaryMark) {
		c.history.complain(fmt.Sprintf("%s %s: the answer holds a value", method, path))
	}
	return answer{response.StatusCode, response.Header.Get("Audit-Id"), data}, err
}

// do sends one operation and records what came of it. It reports whether the answer is known.
func (c *client) do(ctx context.Context, server int, epoch string, in Input) bool {
	method, path, contentType, body := encode(epoch, in)
	operation := Operation{Client: c.id, Server: server, Input: in, Call: c.history.now()}
	got, err := c.send(ctx, server, method, path, contentType, body)
	operation.Return = c.history.now()
	c.failure = err
	if errors.Is(err, errNotSent) {
		return false
	}
	if err == nil {
		operation.Output, err = decode(in, got)
		c.failure = err
	}
	if unexpected := (*unexpectedError)(nil); errors.As(err, &unexpected) {
		c.history.complain(fmt.Sprintf("%s %s: %s", in.Kind, in.Name, unexpected))
	}
	if err != nil {
		if in.Kind == Get || in.Kind == Decrypt || errors.Is(err, errKeyAway) || errors.Is(err, errKeyRetired) {
			return false
		}
		operation.Output, operation.Detail = Output{Result: Unknown}, strings.ReplaceAll(err.Error(), in.Name, "NAME")
	}
	if operation.Output.Result == Conflict && in.Kind != Keep {
		return true // the server gave up repeating, and wrote nothing
	}
	if operation.Output.ResourceVersion != 0 {
		c.seen[in.Name] = operation.Output.ResourceVersion
	}
	c.history.add(operation)
	return operation.Output.Result != Unknown
}

// fresh creates a name that nobody else knows, and returns why that failed.
func (c *client) fresh(ctx context.Context, server int) (name string, err error) {
	c.made++
	name = fmt.Sprintf("probe-%d-%d", c.id, c.made)
	if !c.do(ctx, server, "probe", Input{Kind: Create, Name: name, Op: name, Value: harness.Canary()}) {
		return "", c.failure
	}
	return name, nil
}

// encode turns an operation into a request.
func encode(epoch string, in Input) (method, path, contentType, body string) {
	path = harness.Collection(namespace)
	if in.Kind != Create {
		path += "/" + in.Name
	}
	labels := fmt.Sprintf(`"labels":{%q:%q,%q:%q}`, opLabel, in.Op, epochLabel, epoch)
	value := fmt.Sprintf(`"value":%q,`, in.Value)
	version := ""
	if in.Kind == Keep {
		value, version = "", fmt.Sprintf(`"resourceVersion":"%d",`, in.ResourceVersion)
	}
	whole := fmt.Sprintf(`{"metadata":{"name":%q,%s%s},"spec":{"description":"robustness",%s"decrypters":[%q]}}`,
		in.Name, version, labels, value, decrypter)
	const patch = "application/merge-patch+json"
	switch in.Kind {
	case Create:
		return http.MethodPost, path, "application/json", whole
	case Replace, Keep:
		return http.MethodPut, path, "application/json", whole
	case Label:
		return http.MethodPatch, path, patch, `{"metadata":{` + labels + `}}`
	case Value:
		return http.MethodPatch, path, patch, fmt.Sprintf(`{"metadata":{%s},"spec":{"value":%q}}`, labels, in.Value)
	case Delete:
		return http.MethodDelete, path, "", ""
	case Decrypt:
		return http.MethodGet, "/decrypt/v1/namespaces/" + namespace + "/secrets/" + in.Name + "/decrypt", "", ""
	case Get:
	}
	return http.MethodGet, path, "", ""
}

// unexpectedError is an answer that no fault excuses.
type unexpectedError struct {
	code int
	body string
}

// Error implements error.
func (e *unexpectedError) Error() string {
	return fmt.Sprintf("unexpected answer %d %.300s", e.code, e.body)
}

// decode turns an answer into an output. An error says that nothing is known.
func decode(in Input, got answer) (Output, error) {
	var obj object
	code, data := got.code, got.body
	if in.Kind == Decrypt {
		return decodeDecrypt(got)
	}
	if err := json.Unmarshal(data, &obj); err != nil && code < http.StatusInternalServerError && code != http.StatusTooManyRequests {
		return Output{}, &unexpectedError{code, string(data)}
	}
	switch {
	case code == http.StatusNotFound && obj.Reason == "NotFound":
		return Output{Result: Absent}, nil
	case code == http.StatusConflict && obj.Reason == "AlreadyExists":
		return Output{Result: Exists}, nil
	case code == http.StatusConflict && obj.Reason == "Conflict":
		return Output{Result: Conflict}, nil
	case code == http.StatusOK && in.Kind == Delete:
		return Output{Result: OK}, nil
	case code == http.StatusOK || code == http.StatusCreated:
		return obj.output(), nil
	case code >= http.StatusInternalServerError || code == http.StatusTooManyRequests:
		return Output{}, failed(code, obj.Message, data)
	}
	return Output{}, &unexpectedError{code, string(data)}
}

// failed is an answer that leaves open what happened, unless it says so.
func failed(code int, message string, data []byte) error {
	for _, reason := range []error{errKeyAway, errKeyRetired, errDatabaseFull} {
		if strings.Contains(message, reason.Error()) {
			return fmt.Errorf("%w: %d", reason, code)
		}
	}
	return fmt.Errorf("%d %.200s", code, data)
}

func decodeDecrypt(got answer) (Output, error) {
	var body struct {
		Plaintext string `json:"plaintext"`
	}
	switch code, data := got.code, got.body; {
	case code == http.StatusOK:
		if err := json.Unmarshal(data, &body); err != nil || body.Plaintext == "" {
			return Output{}, &unexpectedError{code, "no plaintext"}
		}
		return Output{Result: OK, Value: body.Plaintext, AuditID: got.auditID}, nil
	case code == http.StatusNotFound:
		return Output{Result: Absent}, nil
	case code >= http.StatusInternalServerError || code == http.StatusTooManyRequests:
		return Output{}, fmt.Errorf("%d %.200s", code, data)
	default:
		return Output{}, &unexpectedError{code, string(data)}
	}
}

// list reads all names of an epoch at once, and records it as a read of each.
func (c *client) list(ctx context.Context, server int, epoch string) {
	call := c.history.now()
	path := harness.Collection(namespace) + "?labelSelector=" + strings.ReplaceAll(epochLabel, "/", "%2F") + "%3D" + epoch
	got, err := c.send(ctx, server, http.MethodGet, path, "", "")
	end := c.history.now()
	var list struct {
		Items []object `json:"items"`
	}
	if err != nil || got.code != http.StatusOK || json.Unmarshal(got.body, &list) != nil {
		return
	}
	found := map[string]Output{}
	for i := range list.Items {
		found[list.Items[i].Metadata.Name] = list.Items[i].output()
	}
	for _, name := range namesOf(epoch) {
		output, ok := found[name]
		if !ok {
			output = Output{Result: Absent}
		}
		if ok {
			c.seen[name] = output.ResourceVersion
		}
		c.history.add(Operation{Client: c.id, Server: server, Input: Input{Kind: Get, Name: name}, Output: output, Call: call, Return: end})
	}
}
