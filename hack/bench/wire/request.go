// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// requestTimeout is when a request is given up and counted as failed. Servers give up at 60 s themselves.
const requestTimeout = 65 * time.Second

// userAgent is shown in the audit logs of the servers.
const userAgent = "secret-bench/1"

// Request is one request. Path holds the query too.
type Request struct {
	Method, Path string
	// ContentType is that of Body; Accept what the response may be.
	ContentType, Accept string
	// Gzip says that the response may be compressed, as client-go says unless it is told otherwise.
	Gzip bool
	Body []byte
}

// Do sends a request and reads the response to its end. sink gets each piece of the body, which it must not keep; nil
// drops them. An error means that the response is incomplete and the connection broken; an HTTP error status is not an
// error.
func (c *Conn) Do(r Request, sink func([]byte)) (status int, err error) {
	_ = c.socket.SetDeadline(time.Now().Add(requestTimeout))
	return c.do(r, sink)
}

// Watch is Do without a time limit: it returns when the server ends the response or after Interrupt.
func (c *Conn) Watch(r Request, sink func([]byte)) (status int, err error) {
	_ = c.socket.SetDeadline(time.Time{})
	return c.do(r, sink)
}

// Fetch gets a path whole. Another status than 200 is an error, which shows what the server said.
func (c *Conn) Fetch(path string) ([]byte, error) {
	var body []byte
	status, err := c.Do(Request{Method: http.MethodGet, Path: path}, func(part []byte) { body = append(body, part...) })
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: %d: %s", path, status, body)
	}
	return body, err
}

func (c *Conn) do(r Request, sink func([]byte)) (status int, err error) {
	if c.broken != nil {
		return 0, c.broken
	}
	status, err = c.exchange(r, sink)
	if err != nil {
		c.broken = err
		_ = c.socket.Close()
	}
	return status, err
}

func (c *Conn) exchange(r Request, sink func([]byte)) (int, error) {
	stream := c.stream
	c.stream += 2
	c.status = 0
	if err := c.send(stream, r); err != nil {
		return 0, err
	}
	response := incoming{stream: stream, sink: sink}
	for !response.ended {
		if err := c.next(&response); err != nil {
			return c.status, err
		}
	}
	return c.status, nil
}

// send writes headers and body, in one system call when both are small.
func (c *Conn) send(stream uint32, r Request) error {
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: c.encode(r), EndHeaders: true, EndStream: len(r.Body) == 0,
	}); err != nil {
		return err
	}
	window := c.streamStart
	for body := r.Body; len(body) > 0; {
		part := body[:min(len(body), maxFrame)]
		for c.sendWindow < int64(len(part)) || window < int64(len(part)) {
			if err := c.awaitWindow(stream, &window); err != nil {
				return err
			}
		}
		body = body[len(part):]
		if err := c.framer.WriteData(stream, len(body) == 0, part); err != nil {
			return err
		}
		c.sendWindow -= int64(len(part))
		window -= int64(len(part))
	}
	return c.out.Flush()
}

func (c *Conn) encode(r Request) []byte {
	c.block.data = c.block.data[:0]
	field := func(name, value string) {
		if value != "" {
			_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) // memory does not fail
		}
	}
	field(":authority", c.authority)
	field(":method", r.Method)
	field(":path", r.Path)
	field(":scheme", "https")
	field("user-agent", userAgent)
	field("accept", r.Accept)
	if r.Gzip {
		field("accept-encoding", "gzip")
	}
	if len(r.Body) > 0 {
		field("content-type", r.ContentType)
		_ = c.encoder.WriteField(hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(len(r.Body))})
	}
	return c.block.data
}

// awaitWindow flushes and reads until the server has allowed more bytes on the stream or on the connection.
func (c *Conn) awaitWindow(stream uint32, window *int64) error {
	if err := c.out.Flush(); err != nil {
		return err
	}
	early := incoming{stream: stream, window: window}
	before, own := c.sendWindow, *window
	for c.sendWindow == before && *window == own {
		if err := c.next(&early); err != nil {
			return err
		}
		if early.ended {
			return fmt.Errorf("the server answered %d before it had read the request", c.status)
		}
	}
	return nil
}

// incoming is the response that is being read.
type incoming struct {
	stream uint32
	sink   func([]byte)
	window *int64 // what may still be sent on the stream; nil when all is sent
	unread uint32 // bytes read on the stream that the server was not told of
	ended  bool
}

// next reads one frame.
func (c *Conn) next(in *incoming) error {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	switch f := frame.(type) {
	case *http2.DataFrame:
		return c.data(in, f)
	case *http2.HeadersFrame:
		if _, err := c.decoder.Write(f.HeaderBlockFragment()); err != nil {
			return err
		}
		in.ended = f.StreamEnded() && f.StreamID == in.stream
	case *http2.ContinuationFrame:
		_, err := c.decoder.Write(f.HeaderBlockFragment())
		return err
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return errors.Join(c.framer.WritePing(true, f.Data), c.out.Flush())
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.sendWindow += int64(f.Increment)
		} else if f.StreamID == in.stream && in.window != nil {
			*in.window += int64(f.Increment)
		}
	case *http2.RSTStreamFrame:
		if f.StreamID == in.stream {
			return fmt.Errorf("the server reset the request: %v", f.ErrCode)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server closes the connection: %v", f.ErrCode)
	}
	return nil
}

// data passes a piece of the body on, and gives the window back when half of it is used.
func (c *Conn) data(in *incoming, f *http2.DataFrame) error {
	if f.StreamID != in.stream {
		return fmt.Errorf("a body of the unknown stream %d", f.StreamID)
	}
	if in.sink != nil && len(f.Data()) > 0 {
		in.sink(f.Data())
	}
	in.ended = f.StreamEnded()
	in.unread += f.Length
	c.unconfirmed += f.Length
	var err error
	if in.unread > streamWindow/2 && !in.ended {
		err = c.framer.WriteWindowUpdate(in.stream, in.unread)
		in.unread = 0
	}
	if c.unconfirmed > connectionWindow/2 {
		err = errors.Join(err, c.framer.WriteWindowUpdate(0, c.unconfirmed))
		c.unconfirmed = 0
	}
	if c.out.Buffered() > 0 {
		err = errors.Join(err, c.out.Flush())
	}
	return err
}

func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if value, ok := f.Value(http2.SettingInitialWindowSize); ok {
		c.streamStart = int64(value)
	}
	return errors.Join(c.framer.WriteSettingsAck(), c.out.Flush())
}
