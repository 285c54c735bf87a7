package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/relay"
	"github.com/sluiceproxy/sluice/engine/wheel"
)

// echoServer is handler and acceptor at once: it has no state per connection.
type echoServer struct{}

func (s echoServer) OnAccept(*engine.Conn) engine.Handler        { return s }
func (echoServer) OnConnected(*engine.Conn)                      {}
func (echoServer) OnReadClosed(c *engine.Conn)                   { c.CloseWrite() }
func (echoServer) OnWritable(c *engine.Conn)                     { c.ResumeRead() }
func (echoServer) OnClosed(_ *engine.Conn, _ engine.CloseReason) {}

func (echoServer) OnData(c *engine.Conn, view []byte) int {
	c.Write(view)
	if c.Above() { // the client does not read: stop taking from it
		c.PauseRead()
	}
	return len(view)
}

// An echo server: accept, write back what comes, honour half-close.
func Example_echo() {
	g, _ := engine.New(engine.Options{})
	_ = g.Start()
	defer g.Stop(context.Background())
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"},
		func(*engine.Loop) engine.Acceptor { return echoServer{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	c, _ := net.Dial("tcp", ln.Addr().String())
	fmt.Fprint(c, "hello, loop")
	_ = c.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(c)
	fmt.Printf("%s\n", b)
	// Output: hello, loop
}

// forwarding relays each connection to one origin.
type forwarding struct{ origin engine.DialSpec }

func (f forwarding) OnAccept(c *engine.Conn) engine.Handler {
	upstream := c.Loop().Dial(f.origin, echoServer{}) // the relay takes over
	relay.Relay(c, upstream, relay.Options{IdleTimeout: time.Minute}, f)
	return c.Handler()
}

func (forwarding) OnRelayDone(t *relay.Tunnel) {
	up, down := t.Moved()
	fmt.Printf("%d bytes up, %d down\n", up, down)
}

// A TCP forwarder: the relay splices bulk data, carries half-close over, and
// times out idle pairs.
func Example_forwarder() {
	g, _ := engine.New(engine.Options{Loops: 1})
	_ = g.Start()
	origin, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"},
		func(*engine.Loop) engine.Acceptor { return echoServer{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	f := forwarding{engine.DialSpec{Addr: origin.Addr().(*net.TCPAddr).AddrPort(), Timeout: time.Second}}
	front, _ := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"},
		func(*engine.Loop) engine.Acceptor { return f })
	c, _ := net.Dial("tcp", front.Addr().String())
	fmt.Fprint(c, "through two sockets")
	_ = c.(*net.TCPConn).CloseWrite()
	b, _ := io.ReadAll(c)
	fmt.Printf("%s\n", b)
	_ = g.Drain(context.Background())
	_ = g.Stop(context.Background())
	// Unordered output:
	// through two sockets
	// 19 bytes up, 19 down
}

// lineConn answers each line, and says goodbye to a client that is silent.
type lineConn struct {
	echoServer
	conn   *engine.Conn
	lastNs int64
	idle   wheel.Timer
}

const maxSilence = 30 * time.Millisecond

func (l *lineConn) OnData(c *engine.Conn, view []byte) int {
	l.lastNs = c.Loop().Now()
	used := 0
	for {
		end := bytes.IndexByte(view[used:], '\n')
		if end < 0 {
			return used // the engine keeps the partial line
		}
		line := view[used : used+end]
		c.Write2([]byte("you said "), view[used:used+len(line)+1])
		used += end + 1
	}
}

// OnTimer re-arms lazily: a busy connection costs no timer work per line.
func (l *lineConn) OnTimer(t *wheel.Timer) {
	loop := l.conn.Loop()
	if rest := l.lastNs + int64(maxSilence) - loop.Now(); rest > 0 {
		loop.Arm(t, time.Duration(rest))
		return
	}
	l.conn.Write([]byte("bye\n"))
	l.conn.CloseAfterFlush(time.Second)
}

func (l *lineConn) OnClosed(c *engine.Conn, _ engine.CloseReason) { c.Loop().Disarm(&l.idle) }

// lines makes a handler per connection.
type lines struct{}

func (lines) OnAccept(c *engine.Conn) engine.Handler {
	l := &lineConn{conn: c, lastNs: c.Loop().Now()}
	l.idle.Handler = l
	c.Loop().Arm(&l.idle, maxSilence)
	c.SetReadLimit(1024) // the longest line
	return l
}

// A line protocol with an idle timeout.
func Example_lines() {
	g, _ := engine.New(engine.Options{Loops: 1})
	_ = g.Start()
	defer g.Stop(context.Background())
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"},
		func(*engine.Loop) engine.Acceptor { return lines{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	c, _ := net.Dial("tcp", ln.Addr().String())
	fmt.Fprint(c, "one\ntwo\nhalf a li")
	for s := bufio.NewScanner(c); s.Scan(); {
		fmt.Println(s.Text())
	}
	c.Close()
	// Output:
	// you said one
	// you said two
	// bye
}
