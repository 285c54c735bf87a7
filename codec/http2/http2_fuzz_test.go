package http2

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

// scripted is an owner for fuzzing: what it does depends on stream and event alone, so that two runs
// over the same bytes do the same.
type scripted struct {
	*owner
	bits uint8
}

// newScripted does the handshake; a client has three requests open.
func newScripted(t *testing.T, client bool, bits uint8) *scripted {
	w, _ := begin(t, client, func(o *Options) {
		o.MaxConcurrentStreams, o.MaxFields, o.MaxHeadBytes = 5, 12, 600
		o.InitialStreamWindow, o.InitialConnWindow = 65535, 65535
		o.AllowConnect, o.StreamErrorOnInvalidMessage = bits&1 != 0, bits&2 != 0
		o.PrematureResetTotal, o.MaxConsecutiveEmptyFrames = 40, 3
	})
	s := &scripted{w, bits}
	w.keep = true
	w.onHeaders = func(st *Stream, _ *header.Head, end bool) { s.act(st, 0, end) }
	w.onData = func(st *Stream, _ []byte, end bool) {
		if end {
			s.act(st, 1, true)
		}
	}
	w.onReset = func(st *Stream) { w.c.Release(st) }
	w.onWindow = func(st *Stream) { w.c.WriteData(st, make([]byte, 500), true) }
	if client {
		for _, head := range []string{"GET http a /", "POST http a /", "HEAD http a /"} {
			w.c.Open(headOf(head), head != "POST http a /")
		}
	}
	return s
}

func (s *scripted) act(st *Stream, event int, end bool) {
	if s.c.client {
		if end && st.State() == StateClosed {
			s.c.Release(st)
		}
		return
	}
	switch (int(st.ID())/2 + event + int(s.bits>>2)) % 6 {
	case 0:
		s.c.WriteHeaders(st, headOf("200 x-a=b"), true)
	case 1:
		s.c.WriteHeaders(st, headOf("200"), false)
		s.c.WriteData(st, make([]byte, 40_000), true)
	case 2:
		s.c.Release(st)
	case 3:
		s.c.Consumed(st, 1000)
	}
}

// merged joins the pieces of data in a log: where a frame was cut is not seen.
func merged(log []string) (out []string) {
	for _, l := range log {
		if n := len(out); n > 0 && strings.HasPrefix(l, "data ") {
			stream, text, _ := strings.Cut(l[5:], " ")
			if rest, ok := strings.CutPrefix(out[n-1], "data "+stream+" "); ok && !strings.HasSuffix(rest, " end") {
				out[n-1] += text
				continue
			}
		}
		out = append(out, l)
	}
	return out
}

// run feeds in with cuts, each rest again with what follows; returns what happened as one text.
func (s *scripted) run(t *testing.T, in []byte, cuts []int) string {
	last := OK
	from := 0
	for _, to := range append(slices.Clone(cuts), len(in)) {
		n, e := s.c.Feed(in[from:to])
		from += n
		if last == OK {
			last = e
		}
		if len(s.c.block.bytes) > s.o.MaxHeadBytes+maxFrame {
			t.Fatalf("%d bytes of a block kept", len(s.c.block.bytes))
		}
		if s.c.Active() > int(max(s.o.MaxConcurrentStreams, 3)) {
			t.Fatalf("%d streams", s.c.Active())
		}
	}
	return fmt.Sprintf("%v\n%x\n%s", merged(s.log), s.c.Output(), last.Explain())
}

// framesOf makes frames, most of them plausible, out of fuzzed bytes.
func framesOf(p *peer, in []byte) []byte {
	blocks := []string{"get", "post", "post content-length=3", "200", "200 content-length=3", ":status=103", "x-a=b", "get cookie=a cookie=b", ":method=CONNECT :authority=a:1", "get X=y"}
	p.buf = nil
	for len(in) >= 4 {
		kind, flags, id, n := in[0]%12, in[1], uint32(in[2]%14), min(int(in[3]), len(in)-4)
		payload := in[4 : 4+n]
		in = in[4+n:]
		switch kind {
		case 1, 10, 11: // headers in good shape come more often
			end := ""
			if flags&1 != 0 {
				end = " end"
			}
			p.frame(fmt.Sprintf("headers %d%s %s", id|1, end, blocks[n%len(blocks)]))
		case 3, 8:
			p.put(kind, 0, id, 0, 0, flags, in0(payload))
		case 4:
			if flags&1 == 0 {
				p.put(4, 0, 0, 0, flags%9, 0, 0, in0(payload), 9)
			}
		case 6:
			p.put(6, flags&1, 0, 1, 2, 3, 4, 5, 6, 7, 8)
		default:
			p.put(kind, flags, id, payload...)
		}
	}
	return p.buf
}

func in0(b []byte) byte {
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// FuzzConn feeds frames in one piece, byte by byte, and cut at random: the events and the output must be
// the same, memory bounded, and the output not much more than came in.
func FuzzConn(f *testing.F) {
	p := newPeer(f)
	for _, lines := range [][]string{
		{"headers 1 end get", "headers 3 post", "data 3 end abc", "ping", "settings 4=100", "window 0 5"},
		{"headers 1 more post", "cont 1 x-a=b", "padded 1 7 abc", "headers 1 end x-sum=1", "reset 1 8", "goaway 0 0"},
		{"headers 1 200", "data 1 end abc", "headers 3 :status=103", "headers 3 end 200"},
		{"headers 1 end get X-a=b", "headers 3 end get", "data 3 x", "priority 5", "push 1 2"},
	} {
		f.Add(p.frames(lines...), uint8(0), []byte{100}, false)
		f.Add(p.frames(lines...), uint8(7), []byte{30, 200}, false)
	}
	f.Add([]byte("\x0a\x00\x01\x01\x00\x00\x01\x03abc\x00\x01\x01\x00\x0b\x01\x03\x00\x06\x00\x00\x00\x08\x00\x01\x01\xff"), uint8(1), []byte{50, 90}, true)
	f.Fuzz(func(t *testing.T, in []byte, bits uint8, places []byte, shaped bool) {
		if shaped {
			in = framesOf(newPeer(t), in)
		}
		var cuts []int
		for _, p := range places {
			cuts = append(cuts, int(p)*len(in)/255)
		}
		slices.Sort(cuts)
		var every []int
		for i := range in {
			every = append(every, i)
		}
		for _, client := range []bool{false, true} {
			w := newScripted(t, client, bits)
			whole := w.run(t, in, nil)
			// Answers: at most what a frame of nine bytes brings about, a response of 40,000 per stream.
			if n, limit := len(w.c.Output()), 1000+41_000*strings.Count(whole, "head ")+5*len(in); n > limit {
				t.Fatalf("%d bytes of output for %d of input", n, len(in))
			}
			for _, c := range [][]int{every, cuts} {
				if got := newScripted(t, client, bits).run(t, in, c); got != whole {
					t.Fatalf("client %v, cuts %v\n%s\nwhole:\n%s", client, c, got, whole)
				}
			}
		}
	})
}

// FuzzForward sends what a server accepts on through a client to a second server: the same request must
// come out. This is the way of a request through a proxy.
func FuzzForward(f *testing.F) {
	f.Add(":path=/a?b x-a=b cookie=a cookie=b te=trailers content-length=3", uint8(0))
	f.Add(":authority=h:1 host=other accept=*/* X-Bad=1", uint8(1))
	f.Add(":protocol=websocket x_y=z", uint8(6))
	f.Fuzz(func(t *testing.T, words string, kind uint8) {
		first := [...]string{
			":method=GET :scheme=http", ":method=POST :scheme=https :path=/", ":method=CONNECT :authority=a:1",
			":method=CONNECT :scheme=http :path=/ :authority=a", ":method=OPTIONS :scheme=http :path=*", ":method=X :scheme=http :path=/ :authority=[::1]:1",
		}[int(kind>>1)%6]
		var fields []string
		for _, word := range strings.Fields(words) {
			if _, err := url.PathUnescape(word); err == nil && !strings.HasPrefix(word, "=") {
				fields = append(fields, word)
			}
		}
		change := func(o *Options) { o.AllowConnect = true }
		a, p := begin(t, false, change)
		client, cp := begin(t, true, change)
		client.feed(t, cp.frames("settings 8=1"))
		client.taken(cp)
		a.onHeaders = func(_ *Stream, h *header.Head, end bool) {
			if client.c.Open(h, end) == nil {
				t.Fatal("no stream")
			}
		}
		end := ""
		if kind&1 != 0 {
			end = " end"
		}
		if _, e := a.c.Feed(p.frames("headers 1" + end + " " + first + " " + strings.Join(fields, " "))); e != OK || len(client.c.Output()) == 0 {
			return
		}
		b, _ := begin(t, false, change)
		if n, e := b.c.Feed(client.c.Output()); e != OK || n != len(client.c.Output()) {
			t.Fatalf("not accepted again: %s\n%q", e.Explain(), a.log)
		}
		if got, want := sortedWords(b.log), sortedWords(a.log); got != want {
			t.Fatalf("\n got %s\nwant %s", got, want)
		}
	})
}

// sortedWords: content-length is written first wherever it was, and the value of te in lower case.
func sortedWords(log []string) string {
	w := strings.Split(strings.Join(log, ";"), " ")
	for i := range w {
		if strings.EqualFold(w[i], "te=trailers") {
			w[i] = "te=trailers"
		}
	}
	slices.Sort(w)
	return strings.Join(w, " ")
}
