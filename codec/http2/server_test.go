package http2

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
)

// tinyServer serves HTTP/2 over TCP with one goroutine a connection: enough for real clients.
//
//	/hello        "hello"
//	/echo         the body, with its length as trailer x-sum when the client takes trailers
//	/bytes/n      n bytes
//	/reset        RST_STREAM after the head
//	/early        a response before the request has ended
//	/goaway       a response, then GOAWAY
type tinyServer struct {
	addr  string
	l     net.Listener
	conns sync.WaitGroup
	// change is applied to the options of every connection.
	change func(o *Options)
}

func serve(t testing.TB, change func(o *Options)) *tinyServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &tinyServer{addr: l.Addr().String(), l: l, change: change}
	s.conns.Add(1)
	go func() {
		defer s.conns.Done()
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go func() {
				defer s.conns.Done()
				s.serveConn(nc)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		s.conns.Wait()
	})
	return s
}

func (s *tinyServer) serveConn(nc net.Conn) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute)) // a client that stays must not keep the test
	sc := &tinyConn{o: DefaultOptions()}
	if s.change != nil {
		s.change(&sc.o)
	}
	sc.c.Init(false, &sc.o, &sc.ws, sc)
	_ = drive(nc, &sc.c, nil)
	sc.c.Close(ErrClosed)
}

// drive moves bytes between a socket and a Conn until either ends. then is called after each batch.
func drive(nc net.Conn, c *Conn, then func() (over bool)) Err {
	buf := make([]byte, 64<<10)
	kept := 0
	for {
		// The transport is a blocking socket: it holds nothing when Write returns.
		if out := c.Output(); len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				return ErrClosed
			}
			c.Taken(0)
		}
		if c.Over() || then != nil && then() && len(c.Output()) == 0 {
			return OK
		}
		if len(c.Output()) > 0 {
			continue
		}
		n, err := nc.Read(buf[kept:])
		if err != nil {
			return ErrClosed
		}
		used, e := c.Feed(buf[:kept+n])
		if e != OK {
			nc.Write(c.Output())
			return e
		}
		kept = copy(buf, buf[used:kept+n])
	}
}

type tinyConn struct {
	c  Conn
	ws Workspace
	o  Options
}

// tinyStream is a request in the making.
type tinyStream struct {
	head, trailers header.Head
	path           string
	body           []byte // to be written
	wantTrailers   bool
	ended          bool
}

func (sc *tinyConn) HeadFor(st *Stream, b Block) *header.Head {
	if b == TrailerBlock {
		return &st.Owner.(*tinyStream).trailers
	}
	x := &tinyStream{}
	st.Owner = x
	return &x.head
}

func (sc *tinyConn) respond(st *Stream, status uint16, length int64) {
	var h header.Head
	h.Reset(nil)
	h.Status, h.ContentLength = status, length
	h.AddString(header.Server, "server", "tiny")
	sc.c.WriteHeaders(st, &h, false)
}

func (sc *tinyConn) OnHeaders(st *Stream, h *header.Head, end bool) {
	h.Retain()
	x := st.Owner.(*tinyStream)
	x.path = h.Text(h.Path)
	x.wantTrailers = string(h.Get(header.TE)) == "trailers"
	switch {
	case x.path == "/echo":
		if h.Expect100 {
			var c header.Head
			c.Reset(nil)
			c.Status = 100
			sc.c.WriteHeaders(st, &c, false)
		}
		sc.respond(st, 200, h.ContentLength)
	case x.path == "/reset":
		sc.respond(st, 200, -1)
		sc.c.Reset(st, InternalError)
		sc.c.Release(st)
		return
	case x.path == "/early":
		sc.respond(st, 413, 0)
		sc.c.WriteData(st, nil, true)
		sc.c.Release(st)
		return
	case strings.HasPrefix(x.path, "/bytes/"):
		n, _ := strconv.Atoi(x.path[7:])
		x.body = make([]byte, n)
		sc.respond(st, 200, int64(n))
	default:
		x.body = []byte("hello")
		sc.respond(st, 200, 5)
	}
	if end {
		sc.finish(st)
	}
}

func (sc *tinyConn) OnData(st *Stream, p []byte, end bool) {
	x := st.Owner.(*tinyStream)
	x.body = append(x.body, p...)
	sc.c.Consumed(st, len(p))
	if end {
		sc.finish(st)
	}
}

func (sc *tinyConn) OnTrailers(st *Stream, t *header.Head) {
	t.Retain()
	sc.finish(st)
}

func (sc *tinyConn) finish(st *Stream) {
	st.Owner.(*tinyStream).ended = true
	sc.pump(st)
}

func (sc *tinyConn) pump(st *Stream) {
	x := st.Owner.(*tinyStream)
	if !x.ended {
		return
	}
	whole := len(x.body)
	trailers := x.wantTrailers && x.path == "/echo"
	n := sc.c.WriteData(st, x.body, !trailers)
	if x.body = x.body[n:]; len(x.body) > 0 {
		return
	}
	if trailers {
		var t header.Head
		t.Reset(nil)
		t.AddString(header.Unknown, "x-sum", strconv.Itoa(whole))
		sc.c.WriteTrailers(st, &t)
	}
	sc.c.Release(st)
	if x.path == "/goaway" {
		sc.c.GoAway(NoError)
	}
}

func (sc *tinyConn) OnReset(st *Stream, _ ErrCode, _ Err) { sc.c.Release(st) }
func (sc *tinyConn) OnWindow(st *Stream)                  { sc.pump(st) }
func (sc *tinyConn) OnGoAway(uint32, ErrCode)             {}
func (sc *tinyConn) OnPong(uint64)                        {}
func (sc *tinyConn) OnSettings()                          {}
func (sc *tinyConn) OnCount(Counter)                      {}
