// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// state is one name. What an update without a value must not touch is in value and version; what it sets is in op.
type state struct {
	exists bool
	// revision is the least that the object's resourceVersion can be: a write that ended in an error does not tell its
	// own, and rewrapping after a rotation raises it at any time.
	revision int64
	version  int64
	op       string
	value    string
}

// model is the specification of one name.
func model() porcupine.Model {
	nondeterministic := porcupine.NondeterministicModel{
		Partition: byName,
		Init:      func() []any { return []any{state{}} },
		Step: func(before, input, output any) []any {
			var states []any
			for _, after := range step(before.(state), input.(Input), output.(Output)) {
				states = append(states, after)
			}
			return states
		},
		DescribeOperation: func(input, output any) string { return describe(input.(Input), output.(Output)) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return nondeterministic.ToModel()
}

// step returns the states that an operation may lead to; none when it cannot have been answered so.
func step(s state, in Input, out Output) []state {
	if out.Result == Unknown {
		if !applies(s, in) {
			return []state{s}
		}
		return []state{s, write(s, in)}
	}
	switch in.Kind {
	case Get:
		return read(s, out)
	case Decrypt:
		return when(s.exists == (out.Result == OK) && (!s.exists || s.value == out.Value), s)
	default:
	}
	switch out.Result {
	case OK:
		return wrote(s, in, out)
	case Absent:
		return when(!s.exists && in.Kind != Create, s)
	case Exists:
		return when(s.exists && in.Kind == Create, s)
	case Conflict: // of a Keep; rewrapping may have been in between
		return when(s.exists && in.Kind == Keep, s)
	case Unknown:
	}
	return nil
}

func when(possible bool, s state) []state {
	if !possible {
		return nil
	}
	return []state{s}
}

func read(s state, out Output) []state {
	if out.Result == Absent {
		return when(!s.exists, s)
	}
	same := s.exists && s.op == out.Op && s.version == out.Version && s.revision <= out.ResourceVersion
	s.revision = max(s.revision, out.ResourceVersion)
	return when(same, s)
}

// applies says whether a write would change the state. A Keep with a resourceVersion below the least possible one must
// not.
func applies(s state, in Input) bool {
	switch in.Kind {
	case Create:
		return !s.exists
	case Keep:
		return s.exists && in.ResourceVersion >= s.revision
	default:
		return s.exists
	}
}

// write is the state after a write that happened.
func write(s state, in Input) state {
	s.revision++
	if in.Kind == Delete {
		return state{revision: s.revision}
	}
	if in.Kind == Create {
		s.exists, s.version = true, 0
	}
	s.op = in.Op
	if in.Value != "" {
		s.value = in.Value
		s.version++
	}
	return s
}

func wrote(s state, in Input, out Output) []state {
	if !applies(s, in) {
		return nil
	}
	after := write(s, in)
	if in.Kind == Delete {
		return []state{after}
	}
	possible := out.ResourceVersion >= after.revision && out.Version == after.version && out.Op == after.op
	after.revision = out.ResourceVersion
	return when(possible, after)
}

func byName(history []porcupine.Operation) [][]porcupine.Operation {
	at, parts := map[string]int{}, [][]porcupine.Operation{}
	for _, operation := range history {
		name := operation.Input.(Input).Name
		if _, known := at[name]; !known {
			at[name] = len(parts)
			parts = append(parts, nil)
		}
		parts[at[name]] = append(parts[at[name]], operation)
	}
	return parts
}

func describe(in Input, out Output) string {
	text := string(in.Kind)
	if in.Op != "" {
		text += " " + in.Op
	}
	if in.Value != "" {
		text += " value " + in.Value
	}
	if in.ResourceVersion != 0 {
		text += fmt.Sprintf(" at %d", in.ResourceVersion)
	}
	text += " → " + string(out.Result)
	if out.Op != "" {
		text += fmt.Sprintf(" %s version %d at %d", out.Op, out.Version, out.ResourceVersion)
	}
	if out.Value != "" {
		text += " " + out.Value
	}
	return text
}

// operations are a history for the checker. What is unknown may happen until the end.
func operations(history []Operation) []porcupine.Operation {
	var end int64
	for _, o := range history {
		end = max(end, o.Return+1)
	}
	all := make([]porcupine.Operation, 0, len(history))
	for _, o := range history {
		converted := porcupine.Operation{ClientId: o.Client, Input: o.Input, Output: o.Output, Call: o.Call, Return: o.Return}
		if o.Output.Result == Unknown {
			converted.Return = end
		}
		all = append(all, converted)
	}
	return all
}
