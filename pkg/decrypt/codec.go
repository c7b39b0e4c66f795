// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// errUndecodable is all that a caller is told of a body that no message can be read from. The library's own errors quote what they
// stumble over, and that may be a value which somebody pasted into the wrong place.
var errUndecodable = errors.New("the body is no DecryptSecureValuesRequest: send namespace, a string, and names, a list of strings")

// codec reads and writes messages as the library does, with errors that quote nothing.
type codec struct {
	name      string
	marshal   func([]byte, proto.Message) ([]byte, error)
	unmarshal func([]byte, proto.Message) error
}

var _ connect.Codec = (*codec)(nil)

// codecs take the place of the library's, under the same names.
func codecs() []connect.HandlerOption {
	read := protojson.UnmarshalOptions{DiscardUnknown: true} // so that an older server takes a newer client's message
	var options []connect.HandlerOption
	for _, name := range []string{"json", "json; charset=utf-8"} {
		options = append(options, connect.WithCodec(&codec{name: name, marshal: protojson.MarshalOptions{}.MarshalAppend, unmarshal: read.Unmarshal}))
	}
	return append(options, connect.WithCodec(&codec{name: "proto", marshal: proto.MarshalOptions{}.MarshalAppend, unmarshal: proto.Unmarshal}))
}

// Name is the part of the content type that chooses the codec.
func (c *codec) Name() string { return c.name }

// Marshal writes a message.
func (c *codec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend writes a message behind dst.
func (c *codec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return c.marshal(dst, m)
}

// Unmarshal reads a message. Its error is errUndecodable, whatever is wrong.
func (c *codec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	if c.unmarshal(data, m) != nil {
		return errUndecodable
	}
	return nil
}
