package http2

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
)

func repeat(n int, lines ...string) (out []string) {
	for range n {
		out = append(out, lines...)
	}
	return out
}

// requests opens n streams from first on, with what follows each.
func requests(first, n int, then ...string) (out []string) {
	for i := range n {
		id := first + 2*i
		out = append(out, fmt.Sprintf("headers %d end get", id))
		for _, s := range then {
			out = append(out, strings.ReplaceAll(s, "#", fmt.Sprint(id)))
		}
	}
	return out
}

// TestInboundFloods: each limit is met exactly, and one more ends the connection with its counter.
func TestInboundFloods(t *testing.T) {
	post := "headers 1 post"
	for _, tc := range []struct {
		name    string
		frames  []string // allowed
		more    []string // one too many
		counter Counter
	}{
		{"empty DATA", []string{post, "data 1"}, []string{"data 1"}, InboundEmptyFramesFlood},
		{"empty frames count only in a row", []string{post, "data 1", "data 1 x", "data 1"}, []string{"padded 1 5"}, InboundEmptyFramesFlood},
		{"empty CONTINUATION", []string{"headers 1 more get", "raw 9 0 1"}, []string{"raw 9 0 1"}, InboundEmptyFramesFlood},
		{"PRIORITY", repeat(100, "priority 3"), []string{"priority 3"}, InboundPriorityFramesFlood},
		{"PRIORITY grows with the streams", append(requests(1, 2), repeat(300, "priority 3")...), []string{"priority 3"}, InboundPriorityFramesFlood},
		{"WINDOW_UPDATE", repeat(5, "window 0 1"), []string{"window 0 1"}, InboundWindowUpdateFramesFlood},
		{"WINDOW_UPDATE grows with the streams", append(requests(1, 1), repeat(7, "window 1 1")...), []string{"window 0 1"}, InboundWindowUpdateFramesFlood},
		{"CONTINUATION by count", append([]string{"headers 1 more get"}, repeat(76, "raw 9 0 1 00")...), []string{"raw 9 0 1 00"}, HeaderOverflow},
		{"CONTINUATION by size", append([]string{"headers 1 more get"}, repeat(4, "raw 9 0 1 "+strings.Repeat("00", 16384))...), []string{"raw 9 0 1 " + strings.Repeat("00", 16384)}, HeaderOverflow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, false, nil)
			if e := w.feed(t, p.frames(tc.frames...)); e != OK {
				t.Fatalf("within the limit: %s", e.Explain())
			}
			e := w.feed(t, p.frames(tc.more...))
			if e.Code() != EnhanceYourCalm || w.counts[tc.counter] != 1 {
				t.Errorf("beyond it: %s, %s is %d", e.Explain(), tc.counter, w.counts[tc.counter])
			}
		})
	}
}

func TestWindowUpdatesGrowWithDataSent(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("headers 1 end get"))
	w.c.WriteHeaders(w.streams[1], headOf("200"), false)
	w.c.WriteData(w.streams[1], []byte("x"), false)
	if e := w.feed(t, p.frames(repeat(5+2+20, "window 0 1")...)); e != OK {
		t.Error(e.Explain())
	}
	if e := w.feed(t, p.frames("window 0 1")); e != ErrWindowFlood {
		t.Error(e.Explain())
	}
}

// TestOutboundFloods: frames count while the transport holds them.
func TestOutboundFloods(t *testing.T) {
	limits := func(o *Options) { o.MaxOutboundControlFrames, o.MaxOutboundFrames = 10, 30 }
	t.Run("answers to PING", func(t *testing.T) {
		w, p := begin(t, false, limits)
		w.feed(t, p.frames(repeat(10, "ping")...))
		if e := w.c.Taken(170); e != OK {
			t.Fatal(e.Explain())
		}
		w.feed(t, p.frames("ping"))
		if e := w.c.Taken(187); e != ErrControlFlood || w.counts[OutboundControlFlood] != 1 || !w.c.Over() {
			t.Errorf("the eleventh: %s", e.Explain())
		}
		if !strings.Contains(w.taken(p), "goaway") {
			t.Error("no GOAWAY")
		}
	})
	t.Run("a peer that reads is not cut off", func(t *testing.T) {
		w, p := begin(t, false, limits)
		for i := range 500 {
			w.feed(t, p.frames(repeat(5, "ping")...))
			if e := w.c.Taken(5 * 17); e != OK {
				t.Fatalf("round %d: %s", i, e.Explain())
			}
			if all, control := w.c.QueuedFrames(); control < 5 || control > 10 || all != control {
				t.Fatalf("round %d: %d frames queued, %d of them answers", i, all, control)
			}
		}
	})
	t.Run("small data frames", func(t *testing.T) {
		w, p := begin(t, false, limits)
		w.feed(t, p.frames("headers 1 end get"))
		w.c.WriteHeaders(w.streams[1], headOf("200"), false)
		e, n := OK, 0
		for unsent := 0; e == OK && n < 100; n++ {
			w.c.WriteData(w.streams[1], []byte("x"), false)
			unsent += len(w.c.Output())
			e = w.c.Taken(unsent)
		}
		if e != ErrOutboundFlood || n != 30 || w.counts[OutboundFlood] != 1 {
			t.Errorf("%s after %d", e.Explain(), n)
		}
		if got := w.takeLog(); !strings.HasSuffix(got, "reset 1 ENHANCE_YOUR_CALM ours") {
			t.Errorf("events %s", got)
		}
	})
	t.Run("more batches than marks", func(t *testing.T) {
		w, p := begin(t, false, limits)
		unsent := 0
		for range 9 {
			w.feed(t, p.frames("ping"))
			unsent += 17
			w.c.Taken(unsent)
		}
		w.c.Taken(17)
		if _, control := w.c.QueuedFrames(); control != 1 {
			t.Errorf("%d queued", control)
		}
		w.o.MaxOutboundControlFrames = 1000
		for range 100 {
			w.feed(t, p.frames("ping"))
			unsent = w.c.queue.used*17 + 17
			w.c.Taken(unsent)
		}
		w.c.Taken(0)
		if all, control := w.c.QueuedFrames(); all+control != 0 {
			t.Errorf("%d and %d queued in an empty transport", all, control)
		}
	})
}

// TestPrematureResets follows the two limits: half of 500, or half of all beyond that.
func TestPrematureResets(t *testing.T) {
	bad := func(n int) []string { return requests(1, n, "reset # 8") }
	for _, tc := range []struct {
		name   string
		change func(w *owner)
		frames func(w *owner, p *peer) Err
		want   Err
	}{
		{"249 resets are tolerated", nil, func(w *owner, p *peer) Err { _, e := w.c.Feed(p.frames(bad(249)...)); return e }, OK},
		{"250 cannot become less than half of 500", nil, func(w *owner, p *peer) Err { _, e := w.c.Feed(p.frames(bad(250)...)); return e }, ErrPrematureResets},
		{"not when the streams have lived a second", nil, func(w *owner, p *peer) Err {
			w.c.Feed(p.frames(requests(1, 900)...))
			w.c.NowNs += int64(time.Second)
			var resets []string
			for i := range 900 {
				resets = append(resets, fmt.Sprintf("reset %d 8", 1+2*i))
			}
			_, e := w.c.Feed(p.frames(resets...))
			return e
		}, OK},
		{"not when most requests are served", nil, func(w *owner, p *peer) Err {
			w.onHeaders = answerAll(w)
			w.c.Feed(p.frames(requests(1, 600)...))
			w.onHeaders = nil
			_, e := w.c.Feed(p.frames(requests(1201, 590, "reset # 8")...))
			return e
		}, OK},
		{"when more than half were not", nil, func(w *owner, p *peer) Err {
			w.onHeaders = answerAll(w)
			w.c.Feed(p.frames(requests(1, 600)...))
			w.onHeaders = nil
			_, e := w.c.Feed(p.frames(requests(1201, 601, "reset # 8")...))
			return e
		}, ErrPrematureResets},
		{"resets that the client makes us send count too", nil, func(w *owner, p *peer) Err {
			_, e := w.c.Feed(p.frames(requests(1, 250, "window # 0")...))
			return e
		}, ErrPrematureResets},
		{"0 is no limit", func(w *owner) { w.o.PrematureResetTotal = 0 }, func(w *owner, p *peer) Err { _, e := w.c.Feed(p.frames(bad(2000)...)); return e }, OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, false, func(o *Options) { o.MaxWindowUpdatesPerDataFrame = 1000 })
			if tc.change != nil {
				tc.change(w)
			}
			w.onReset = func(st *Stream) { w.c.Release(st) }
			e := tc.frames(w, p)
			if e != tc.want || (w.counts[TooManyPrematureResets] == 1) != (tc.want != OK) {
				t.Errorf("%s", e.Explain())
			}
		})
	}
}

func answerAll(w *owner) func(st *Stream, _ *header.Head, _ bool) {
	return func(st *Stream, _ *header.Head, _ bool) {
		w.c.WriteHeaders(st, headOf("200"), true)
		w.c.Release(st)
	}
}

func TestConcurrentStreams(t *testing.T) {
	w, p := begin(t, false, func(o *Options) { o.MaxConcurrentStreams = 2 })
	if e := w.feed(t, p.frames(requests(1, 3)...)); e != OK {
		t.Fatal(e.Explain())
	}
	if got := w.taken(p); got != "reset 5 REFUSED_STREAM" || w.counts[StreamRefusedErrors] != 1 || w.counts[TxReset] != 1 {
		t.Errorf("the third is answered by %s", got)
	}
	if w.c.Active() != 2 || len(w.streams) != 2 {
		t.Errorf("%d active, %d known to the owner", w.c.Active(), len(w.streams))
	}
	// What follows the refused one is ignored, and a stream that ends makes room.
	w.c.WriteHeaders(w.streams[1], headOf("200"), true)
	w.takeLog()
	if e := w.feed(t, p.frames("data 5 end x", "headers 7 end get")); e != OK || w.takeLog() != "head 7 GET https://a.b/ end" {
		t.Error(e.Explain())
	}
}

func TestClientKeepsToTheServersLimits(t *testing.T) {
	w, p := begin(t, true, nil)
	head := headOf("GET http a /")
	open := func() (n int) {
		for w.c.Open(head, true) != nil {
			n++
		}
		return n
	}
	w2 := newOwner(true, nil)
	if n := 0; w2.c.StreamLimit() != 100 || n != 0 {
		t.Errorf("before SETTINGS the limit is %d", w2.c.StreamLimit())
	}
	w.feed(t, p.frames("settings 3=2"))
	if n := open(); n != 2 || w.c.CanOpen() {
		t.Errorf("%d streams, the limit is 2", n)
	}
	w.feed(t, p.frames("headers 1 end 200"))
	if n := open(); n != 1 {
		t.Errorf("%d more", n)
	}
	w.feed(t, p.frames("settings 3=100", "goaway 2147483647 0"))
	if n := open(); n != 0 || !w.c.GoingAway() {
		t.Errorf("%d streams after GOAWAY", n)
	}
	if got := w.taken(p); strings.Contains(got, "headers 7") {
		t.Error(got)
	}
	up := headOf("GET http a / upgrade=websocket")
	w, p = begin(t, true, func(o *Options) { o.AllowConnect = true })
	if w.c.Open(up, false) != nil {
		t.Error("extended CONNECT to a server that does not offer it (UP-12)")
	}
	w.feed(t, p.frames("settings 8=1"))
	if w.c.Open(up, false) == nil {
		t.Error("no extended CONNECT to a server that offers it")
	}
	w.c.nextID = maxStreamID + 2
	if w.c.Open(head, true) != nil {
		t.Error("a stream beyond the last number")
	}
}

func TestGracefulShutdown(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("headers 1 post"))
	w.c.ShutdownNotice()
	w.c.ShutdownNotice()
	if got := w.taken(p); got != "goaway 2147483647 NO_ERROR" || !w.c.GoingAway() {
		t.Errorf("first %s (HC-75)", got)
	}
	w.feed(t, p.frames("headers 3 end get"))
	w.c.GoAway(NoError)
	w.c.GoAway(NoError)
	if got := w.taken(p); got != "goaway 3 NO_ERROR" || w.counts[GoAwaySent] != 2 {
		t.Errorf("then %s", got)
	}
	w.takeLog()
	if e := w.feed(t, p.frames("headers 5 post x-a=b", "data 5 end x", "data 1 end abc")); e != OK {
		t.Error(e.Explain())
	}
	if got := w.takeLog(); got != "data 1 abc end" {
		t.Errorf("events %s", got)
	}
	if got := w.taken(p); got != "" || w.counts[HeadersCbNoStream] != 1 {
		t.Errorf("streams after GOAWAY are not ignored: %s", got)
	}
	w.c.WriteHeaders(w.streams[1], headOf("200"), true)
	w.c.WriteHeaders(w.streams[3], headOf("200"), true)
	if w.c.Active() != 0 {
		t.Errorf("%d active", w.c.Active())
	}
	w.taken(p)
	if w.feed(t, p.frames("ping", "raw 7 0 1")); !strings.HasSuffix(w.taken(p), "goaway 3 PROTOCOL_ERROR") {
		t.Error("an error raised the last stream of GOAWAY")
	}
}

func TestYieldsAfterSomeRequests(t *testing.T) {
	w, p := begin(t, false, func(o *Options) { o.MaxRequestsPerFeed = 2 })
	b := p.frames(append(slices.Insert(requests(1, 5), 1, "ping"), "ping")...)
	var got []string
	for turns := 0; len(b) > 0 && turns < 10; turns++ {
		n, e := w.c.Feed(b)
		if e != OK || (n < len(b)) != w.c.Yielded() {
			t.Fatalf("used %d of %d, yielded %v, %s", n, len(b), w.c.Yielded(), e.Explain())
		}
		b = b[n:]
		got = append(got, fmt.Sprint(strings.Count(w.takeLog(), "head")))
	}
	if s := strings.Join(got, " "); s != "2 2 1" {
		t.Errorf("requests in turn: %s", s)
	}
}

func TestUnderscores(t *testing.T) {
	for _, tc := range []struct {
		policy  http1.UnderscorePolicy
		want    string
		counter Counter
	}{
		{http1.UnderscoreAllow, "head 1 GET https://a.b/ x_a=b x-c=d end", NoCounter},
		{http1.UnderscoreDrop, "head 1 GET https://a.b/ x-c=d end", DroppedHeadersWithUnderscores},
		{http1.UnderscoreReject, "reset 1 PROTOCOL_ERROR ours", RequestsRejectedWithUnderscores},
	} {
		w, p := begin(t, false, func(o *Options) { o.Underscores = tc.policy })
		e := w.feed(t, p.frames("headers 1 end get x_a=b x-c=d"))
		if got := w.takeLog(); e != OK || got != tc.want || tc.counter != NoCounter && w.counts[tc.counter] != 1 {
			t.Errorf("policy %d: %s, %s, counted %d (HC-78)", tc.policy, got, e.Explain(), w.counts[tc.counter])
		}
		w, p = begin(t, true, func(o *Options) { o.Underscores = tc.policy })
		w.c.Open(headOf("GET http a /"), true)
		if w.feed(t, p.frames("headers 1 end 200 x_a=b")); w.takeLog() != "head 1 200 x_a=b end" {
			t.Error("responses are not concerned")
		}
	}
}

func TestForgottenResetsGetTheMildAnswer(t *testing.T) {
	w, p := begin(t, false, nil)
	w.onHeaders = func(st *Stream, _ *header.Head, _ bool) { w.c.Release(st) }
	w.feed(t, p.frames(requests(1, resetRingLen+10)...))
	w.taken(p)
	if e := w.feed(t, p.frames("data 1 x")); e != OK || w.taken(p) != "reset 1 STREAM_CLOSED" {
		t.Errorf("%s", e.Explain())
	}
}
