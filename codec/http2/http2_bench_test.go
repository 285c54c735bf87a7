package http2

import (
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// exchanger is a client and a server joined back to back, with heads of the size of a small request's.
type exchanger struct {
	client, server exchangeSide
	request        *header.Head
	response       *header.Head
	trailers       *header.Head
	body           []byte
}

type exchangeSide struct {
	x              *exchanger
	c              Conn
	head, trailers header.Head
	ended          int
}

func newExchanger(body int) *exchanger {
	x := &exchanger{
		request: headOf("GET http localhost:8080 /index.html?q=1 user-agent=h2load/1.52.0 accept=*/* accept-encoding=gzip x-own=value"),
		response: headOf("200 server=sluice date=Mon,02_Nov_2026_10:00:00_GMT content-type=text/html content-length=0 " +
			"x-envoy-upstream-service-time=1"),
		trailers: headOf("200 grpc-status=0"),
		body:     make([]byte, body),
	}
	x.response.ContentLength = int64(body)
	var ws Workspace
	o := DefaultOptions()
	o.InitialStreamWindow, o.InitialConnWindow = 65535, 65535
	x.client.x, x.server.x = x, x
	x.client.c.Init(true, &o, &ws, &x.client)
	x.server.c.Init(false, &o, &ws, &x.server)
	return x
}

func (s *exchangeSide) HeadFor(_ *Stream, b Block) *header.Head {
	if b == TrailerBlock {
		return &s.trailers
	}
	return &s.head
}

func (s *exchangeSide) OnHeaders(st *Stream, _ *header.Head, end bool) {
	if end {
		s.end(st)
	}
}

func (s *exchangeSide) OnData(st *Stream, p []byte, end bool) {
	s.c.Consumed(st, len(p))
	if end {
		s.end(st)
	}
}
func (s *exchangeSide) OnTrailers(st *Stream, _ *header.Head) { s.end(st) }

func (s *exchangeSide) end(st *Stream) {
	s.ended++
	if !s.c.client {
		x := s.x
		s.c.WriteHeaders(st, x.response, len(x.body) == 0)
		if len(x.body) > 0 {
			s.c.WriteData(st, x.body, false)
			s.c.WriteTrailers(st, x.trailers)
		}
	}
	s.c.Release(st)
}
func (s *exchangeSide) OnReset(*Stream, ErrCode, Err) {}
func (s *exchangeSide) OnWindow(*Stream)              {}
func (s *exchangeSide) OnGoAway(uint32, ErrCode)      {}
func (s *exchangeSide) OnPong(uint64)                 {}
func (s *exchangeSide) OnSettings()                   {}
func (s *exchangeSide) OnCount(Counter)               {}

// run is one request and its response.
func (x *exchanger) run(t testing.TB) {
	before := x.client.ended
	st := x.client.c.Open(x.request, len(x.body) == 0)
	if st == nil {
		t.Fatal("no stream")
	}
	if len(x.body) > 0 {
		x.client.c.WriteData(st, x.body, true)
	}
	x.pass(t, &x.client, &x.server)
	x.pass(t, &x.server, &x.client)
	if x.client.ended != before+1 {
		t.Fatal("no response")
	}
}

func (x *exchanger) pass(t testing.TB, from, to *exchangeSide) {
	b := from.c.Output()
	if n, e := to.c.Feed(b); n != len(b) || e != OK {
		t.Fatalf("used %d of %d: %s", n, len(b), e.Explain())
	}
	from.c.Taken(0)
}

// BenchmarkExchange is both sides of a request: two heads encoded, two decoded.
func BenchmarkExchange(b *testing.B) {
	for name, body := range map[string]int{"empty": 0, "10KiB": 10 << 10} {
		b.Run(name, func(b *testing.B) {
			x := newExchanger(body)
			b.ReportAllocs()
			for b.Loop() {
				x.run(b)
			}
		})
	}
}

// serving is a server that answers the same request frames again and again under new numbers.
func serving(b *testing.B) (x *exchanger, request []byte) {
	x = newExchanger(0)
	for range 10 {
		x.run(b)
	}
	x.client.c.Open(x.request, true)
	return x, x.client.c.Output()
}

// BenchmarkServer is what a server does for a small request: decode its head, encode the response's.
func BenchmarkServer(b *testing.B) {
	x, request := serving(b)
	id := x.server.c.lastPeer
	b.ReportAllocs()
	for b.Loop() {
		id += 2
		if id > maxStreamID {
			b.Fatal("numbers are used up")
		}
		request[5], request[6], request[7], request[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
		if n, e := x.server.c.Feed(request); n != len(request) || e != OK {
			b.Fatal(e.Explain())
		}
		x.server.c.Taken(0)
	}
}

func BenchmarkData(b *testing.B) {
	x := newExchanger(0)
	x.run(b)
	st := x.client.c.Open(x.request, false)
	x.pass(b, &x.client, &x.server)
	p := make([]byte, 16384)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if x.client.c.WriteData(st, p, false) != len(p) {
			b.Fatal("no window")
		}
		x.pass(b, &x.client, &x.server)
		if len(x.server.c.Output()) > 0 {
			x.pass(b, &x.server, &x.client)
		}
	}
}
