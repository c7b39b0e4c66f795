// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"sync"
	"time"
)

// Kind is what a client asks for.
type Kind string

// The kinds of operations. Replace is a PUT with a value and without a resourceVersion; Keep is one without a value and
// with the resourceVersion of an earlier read; Label and Value are merge patches. A list is recorded as a Get of each
// name.
const (
	Create  Kind = "create"
	Replace Kind = "replace"
	Keep    Kind = "keep"
	Label   Kind = "label"
	Value   Kind = "value"
	Delete  Kind = "delete"
	Get     Kind = "get"
	Decrypt Kind = "decrypt"
)

// Result is what a client learned.
type Result string

// The results. Unknown is a write that may have happened, or may happen yet. A read that failed is not recorded.
const (
	OK       Result = "ok"
	Absent   Result = "absent"
	Exists   Result = "exists"
	Conflict Result = "conflict"
	Unknown  Result = "unknown"
)

// Input is one request.
type Input struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// Op names the write in a label of the object, so that a read tells which write it sees.
	Op string `json:"op,omitempty"`
	// Value is the value that is written, another one each time.
	Value string `json:"value,omitempty"`
	// ResourceVersion is the precondition of a Keep.
	ResourceVersion int64 `json:"resourceVersion,omitempty"`
}

// Output is one answer.
type Output struct {
	Result Result `json:"result"`
	// ResourceVersion, Version (status.version) and Op are those of the object in the answer.
	ResourceVersion int64  `json:"resourceVersion,omitempty"`
	Version         int64  `json:"version,omitempty"`
	Op              string `json:"op,omitempty"`
	// Value is what opened.
	Value string `json:"value,omitempty"`
	// AuditID is that of a decrypt request.
	AuditID string `json:"auditID,omitempty"`
}

// Operation is a request, its answer and when they were, in nanoseconds since the start.
type Operation struct {
	Client int    `json:"client"`
	Server int    `json:"server"`
	Input  Input  `json:"input"`
	Output Output `json:"output"`
	Call   int64  `json:"call"`
	Return int64  `json:"return"`
	// Detail is the error of an unknown result.
	Detail string `json:"detail,omitempty"`
}

// History is what all clients saw.
type History struct {
	start time.Time

	mu         sync.Mutex
	operations []Operation
	// requests counts what was sent, failed reads too.
	requests int
	// wrong are answers that no fault excuses.
	wrong []string
}

func newHistory() *History { return &History{start: time.Now()} }

func (h *History) now() int64 { return int64(time.Since(h.start)) }

func (h *History) add(operations ...Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, operations...)
}

func (h *History) sent() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests++
}

func (h *History) complain(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, text)
}

// values returns everything that clients wrote.
func (h *History) values() []string {
	var all []string
	for _, o := range h.operations {
		if o.Input.Value != "" {
			all = append(all, o.Input.Value)
		}
	}
	return all
}
