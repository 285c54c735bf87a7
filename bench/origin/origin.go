// Package origin is an HTTP/1 server that does what its paths say, for tests, demonstrations and
// benchmarks, and a raw server that misbehaves as scripted, for fault tests.
//
// [Server] runs on the engine and costs little, because in a benchmark it shares a CPU with the load
// generator; besides HTTP it has an echo port and a port that sends without end. Its paths, for any method:
//
//	/                      200, "hello from NAME"
//	/bytes/N               200, N bytes of bench.Pattern with a Content-Length
//	/chunked/N             200, N bytes of bench.Pattern in chunks of at most 16 KiB
//	/checksum/N            as /bytes, and X-Checksum: CRC-32 (IEEE) of the body in hex; N at most 64 MiB
//	/status/N              status N (200 to 599), "status N"
//	/delay/MS              200 "delayed MS", that many milliseconds after the request
//	/slow?bytes=N&every=MS 200, N bytes, one every MS milliseconds
//	/echo                  200, the request's body, framed as it came, while it comes
//	/drain                 200 "COUNT CRC32", of the request's body
//	/headers               200, the request's head as it was received
//	/close                 200 "closing", with Connection: close
//	/reset                 no answer but a reset
//	anything else          404
//
// Except for /echo the answer follows the end of the request's body. [Scripted] is the other server; it
// is on plain sockets, knows nothing of HTTP but where a request ends, and does one scripted thing after
// the other.
package origin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
)

// Options configure a Server. The zero value listens on a free loopback port.
type Options struct {
	// Addr is where HTTP is served (default 127.0.0.1:0), EchoAddr where every byte is sent back, and
	// SourceAddr where bench.Pattern is sent without end; empty for none of the latter two.
	Addr, EchoAddr, SourceAddr string
	// Name is in the answer to "/", so that a test sees which origin it reached; default "origin".
	Name string
	// Loops is the number of event loops; default 1.
	Loops  int
	Logger *slog.Logger
}

// Server is a running origin. Its methods may be called from any goroutine.
type Server struct {
	group      *engine.Group
	http, echo *engine.Listener
	source     *source // nil when there is none
	shards     []*shard
}

// readBufferBytes is large for the sake of uploads.
const readBufferBytes = 64 << 10

// New starts a server; it serves until Stop.
func New(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Name == "" {
		o.Name = "origin"
	}
	group, err := engine.New(engine.Options{Loops: max(1, o.Loops), ReadBufferBytes: readBufferBytes, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	s := &Server{group: group}
	for range group.Loops() {
		s.shards = append(s.shards, newShard(o.Name))
	}
	s.http, err = group.Listen(engine.ListenSpec{Addr: o.Addr}, func(l *engine.Loop) engine.Acceptor {
		return s.shards[l.Index()]
	})
	if err == nil && o.EchoAddr != "" {
		s.echo, err = group.Listen(engine.ListenSpec{Addr: o.EchoAddr}, func(*engine.Loop) engine.Acceptor { return echoer{} })
	}
	if err == nil && o.SourceAddr != "" {
		s.source, err = newSource(o.SourceAddr)
	}
	if err == nil {
		err = group.Start()
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("origin: %w", err)
	}
	return s, nil
}

// Serve runs a server until ctx ends.
func Serve(ctx context.Context, o Options) error {
	s, err := New(o)
	if err != nil {
		return err
	}
	<-ctx.Done()
	s.Stop()
	return nil
}

// Addr returns where HTTP is served.
func (s *Server) Addr() net.Addr { return s.http.Addr() }

// EchoAddr returns where bytes are echoed, nil when there is no echo server.
func (s *Server) EchoAddr() net.Addr {
	if s.echo == nil {
		return nil
	}
	return s.echo.Addr()
}

// SourceAddr returns where the endless source is, nil when there is none.
func (s *Server) SourceAddr() net.Addr {
	if s.source == nil {
		return nil
	}
	return s.source.listener.Addr()
}

// Requests returns how many complete request heads have been received.
func (s *Server) Requests() (n int64) {
	for _, sh := range s.shards {
		n += sh.requests.Load()
	}
	return n
}

// Connections returns how many connections have been accepted for HTTP.
func (s *Server) Connections() (n int64) {
	for _, sh := range s.shards {
		n += sh.connections.Load()
	}
	return n
}

// Stop resets all connections and returns when nothing is left of the server.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.group.Stop(ctx)
	if s.source != nil {
		s.source.stop()
	}
}

// shard is what one loop has of the server: loop-owned but for the counters.
type shard struct {
	options     http1.Options
	hello       []byte // the answer to GET / on a connection that stays open
	name        string
	free        []*exchange
	requests    atomic.Int64
	connections atomic.Int64
}

func newShard(name string) *shard {
	sh := &shard{options: http1.DefaultOptions(), name: name}
	sh.options.AllowHTTP10, sh.options.AllowAbsoluteURL, sh.options.AllowCustomMethods = true, true, true
	body := "hello from " + name + "\n"
	sh.hello = append(appendHead(nil, 200, int64(len(body)), "", false), body...)
	return sh
}

// OnAccept implements engine.Acceptor.
func (sh *shard) OnAccept(c *engine.Conn) engine.Handler {
	sh.connections.Add(1)
	c.SetWatermarks(writeAheadBytes)
	if n := len(sh.free); n > 0 {
		x := sh.free[n-1]
		sh.free = sh.free[:n-1]
		return x
	}
	return newExchange(sh)
}

// maxFree bounds the exchanges kept for later connections.
const maxFree = 1024

func (sh *shard) put(x *exchange) {
	if len(sh.free) < maxFree {
		x.reset()
		sh.free = append(sh.free, x)
	}
}
