package http2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// echo is a server that sends every request's body back, and a client that checks it, over two pipes
// that deliver any number of bytes at a time.
type side struct {
	t       *testing.T
	r       *rand.Rand
	c       Conn
	ws      Workspace
	o       Options
	bodies  map[*Stream]*exchange
	pipe    []byte // on the way to the other side
	done    int
	resets  int
	windows int
}

type exchange struct {
	head, trailers header.Head
	send           []byte // still to be written
	end            bool   // and then the end
	got            []byte
	want           []byte
	held           int
}

func newSide(t *testing.T, client bool, r *rand.Rand) *side {
	s := &side{t: t, r: r, o: DefaultOptions(), bodies: map[*Stream]*exchange{}}
	s.o.InitialStreamWindow = 65535 + int32(r.IntN(100_000))
	s.o.InitialConnWindow = 65535 + int32(r.IntN(200_000))
	s.o.TableSize = uint32(r.IntN(8192))
	s.o.MaxConcurrentStreams = uint32(3 + r.IntN(20))
	s.c.Init(client, &s.o, &s.ws, s)
	return s
}

func (s *side) HeadFor(st *Stream, b Block) *header.Head {
	x := s.bodies[st]
	if x == nil {
		x = &exchange{}
		s.bodies[st] = x
	}
	if b == TrailerBlock {
		return &x.trailers
	}
	return &x.head
}

func (s *side) OnHeaders(st *Stream, h *header.Head, end bool) {
	if s.c.client {
		return
	}
	h.Retain()
	s.c.WriteHeaders(st, headOf(fmt.Sprintf("200 x-own=%d x-same=1", s.r.IntN(3))), false)
	if end {
		s.finish(st)
	}
}

func (s *side) OnData(st *Stream, p []byte, end bool) {
	x := s.bodies[st]
	if s.c.client {
		x.got = append(x.got, p...)
	} else {
		x.send = append(x.send, p...)
	}
	if x.held += len(p); s.r.IntN(3) > 0 {
		s.consume(st, x)
	}
	if end {
		s.finish(st)
	} else {
		s.pump(st, x)
	}
}

func (s *side) consume(st *Stream, x *exchange) {
	s.c.Consumed(st, x.held)
	x.held = 0
}

func (s *side) OnTrailers(st *Stream, h *header.Head) {
	if h.Find(header.Unknown, "x-sum") < 0 {
		s.t.Error("trailers without x-sum")
	}
	s.finish(st)
}

// finish is the end of what the peer sends on st.
func (s *side) finish(st *Stream) {
	x := s.bodies[st]
	x.end = true
	if !s.c.client {
		s.pump(st, x)
		return
	}
	if !bytes.Equal(x.got, x.want) {
		s.t.Errorf("stream %d: %d bytes came back, want %d", st.ID(), len(x.got), len(x.want))
	}
	s.done++
	s.drop(st)
}

func (s *side) drop(st *Stream) {
	delete(s.bodies, st)
	s.c.Release(st)
}

// pump writes what the windows allow; servers drop the stream when all is written.
func (s *side) pump(st *Stream, x *exchange) {
	n := min(len(x.send), s.r.IntN(60_000))
	n = s.c.WriteData(st, x.send[:n], false)
	x.send = x.send[n:]
	if len(x.send) > 0 || !x.end || !st.canSend() {
		return
	}
	if s.r.IntN(2) == 0 {
		s.c.WriteTrailers(st, headOf("200 x-sum=1"))
	} else {
		s.c.WriteData(st, nil, true)
	}
	if !s.c.client {
		s.drop(st)
	}
}

func (s *side) OnReset(st *Stream, _ ErrCode, _ Err) {
	s.resets++
	s.drop(st)
}

func (s *side) OnWindow(st *Stream) {
	s.windows++
	s.pump(st, s.bodies[st])
}
func (s *side) OnGoAway(uint32, ErrCode) {}
func (s *side) OnPong(uint64)            {}
func (s *side) OnSettings()              {}
func (s *side) OnCount(Counter)          {}

// move takes what is written, and delivers some of what the other side has on the way.
func (s *side) move(from *side) (some bool) {
	from.pipe = append(from.pipe, from.c.Output()...)
	if e := from.c.Taken(0); e != OK {
		s.t.Fatal(e.Explain())
	}
	if len(from.pipe) == 0 {
		return false
	}
	n, e := s.c.Feed(from.pipe[:s.r.IntN(len(from.pipe))+1])
	if e != OK {
		s.t.Fatalf("client %v: %s", s.c.client, e.Explain())
	}
	from.pipe = from.pipe[n:]
	return true
}

func runPair(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	client, server := newSide(t, true, r), newSide(t, false, r)
	const requests = 60
	opened, idle := 0, 0
	for steps := 0; client.done < requests; steps++ {
		if steps > 200_000 {
			t.Fatalf("seed %d: %d of %d done, %d active", seed, client.done, requests, client.c.Active())
		}
		if opened < requests && client.c.CanOpen() {
			st := client.c.Open(headOf(fmt.Sprintf("POST http a /%d x-a=b", r.IntN(3))), false)
			x := &exchange{want: make([]byte, r.IntN(1<<r.IntN(20))), end: true}
			for i := range x.want {
				x.want[i] = byte(r.Uint32())
			}
			x.send = x.want
			client.bodies[st] = x
			client.pump(st, x)
			opened++
		}
		if some := server.move(client); client.move(server) || some {
			idle = 0
			continue
		}
		// All is quiet: what was held back must be consumed, or pumped, to go on.
		for _, s := range []*side{client, server} {
			for st, x := range s.bodies {
				s.consume(st, x)
				if s.bodies[st] == x && (len(x.send) > 0 || !s.c.client && x.end || s.c.client && st.canSend()) {
					s.pump(st, x)
				}
			}
		}
		if idle++; idle > 10_000 {
			t.Fatalf("seed %d: nothing moves; %d of %d done", seed, client.done, requests)
		}
	}
	if client.resets+server.resets != 0 {
		t.Errorf("seed %d: %d and %d resets", seed, client.resets, server.resets)
	}
	for _, s := range []*side{client, server} {
		if s.c.streams.count != 0 || s.c.blocked.count != 0 || len(s.bodies) != 0 {
			t.Errorf("seed %d: %d streams, %d blocked, %d exchanges left", seed, s.c.streams.count, s.c.blocked.count, len(s.bodies))
		}
	}
}
