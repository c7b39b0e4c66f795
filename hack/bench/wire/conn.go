// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The windows are those of Go's own client, which client-go uses: a server is held back no earlier and no later.
const (
	streamWindow     = 4 << 20
	connectionWindow = 1 << 30
	initialWindow    = 1<<16 - 1 // what HTTP/2 gives both sides at the start
	maxFrame         = 1 << 14   // the largest frame that both sides must take
	maxHeaderTable   = 4 << 10
)

// Conn is a connection to a server. It is not safe for concurrent use, but for Bytes.
type Conn struct {
	authority string
	socket    *countingConn
	tls       *tls.Conn
	out       *bufio.Writer
	framer    *http2.Framer
	encoder   *hpack.Encoder
	decoder   *hpack.Decoder
	block     headerBlock

	stream      uint32
	sendWindow  int64 // of the connection; that of a stream is taken from streamStart
	streamStart int64
	unconfirmed uint32 // bytes read on this connection that the server was not told of
	status      int    // of the response whose headers are read
	broken      error
}

// Dial connects to address with HTTP/2 over TLS. Timeouts are the caller's, by ctx.
func Dial(ctx context.Context, address string, config *tls.Config) (*Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	socket := &countingConn{Conn: raw}
	config = config.Clone()
	config.NextProtos = []string{http2.NextProtoTLS}
	secured := tls.Client(socket, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	if got := secured.ConnectionState().NegotiatedProtocol; got != http2.NextProtoTLS {
		return nil, errors.Join(fmt.Errorf("%s speaks %q, not HTTP/2", address, got), raw.Close())
	}
	c := &Conn{
		authority: address, socket: socket, tls: secured, out: bufio.NewWriterSize(secured, 64<<10),
		sendWindow: initialWindow, streamStart: initialWindow, stream: 1,
	}
	c.framer = http2.NewFramer(c.out, bufio.NewReaderSize(secured, 64<<10))
	c.framer.SetReuseFrames()
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(maxHeaderTable, c.header)
	if err := c.preface(); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

func (c *Conn) preface() error {
	if _, err := c.out.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	return errors.Join(
		c.framer.WriteSettings(
			http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		),
		c.framer.WriteWindowUpdate(0, connectionWindow),
		c.out.Flush(),
	)
}

// Close ends the connection.
func (c *Conn) Close() error { return c.socket.Close() }

// Interrupt makes what is running fail, from another goroutine.
func (c *Conn) Interrupt() { _ = c.socket.SetDeadline(time.Unix(1, 0)) }

// Bytes are those that went over the wire, TLS included, in both directions: requests and responses.
func (c *Conn) Bytes() (sent, received int64) { return c.socket.sent.Load(), c.socket.received.Load() }

// Broken says why the connection cannot be used any more; it is nil while it can.
func (c *Conn) Broken() error { return c.broken }

// header is called for each field of a response.
func (c *Conn) header(field hpack.HeaderField) {
	if field.Name == ":status" && len(field.Value) == 3 {
		c.status = int(field.Value[0]-'0')*100 + int(field.Value[1]-'0')*10 + int(field.Value[2]-'0')
	}
}

// headerBlock is what the encoder writes to; it is used again for each request.
type headerBlock struct{ data []byte }

func (b *headerBlock) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// countingConn counts the bytes of a connection below TLS.
type countingConn struct {
	net.Conn
	sent, received atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}
