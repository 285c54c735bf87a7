package http2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

func TestRequestsWritten(t *testing.T) {
	for _, tc := range []struct {
		name, head string
		edit       func(h *header.Head)
		want       string
	}{
		{"a GET", "GET https a.b /x?y accept=*/*", nil, ":method=GET :scheme=https :path=/x?y :authority=a.b accept=*/*"},
		{"no scheme is http, no path is the root", "GET https a.b /", func(h *header.Head) { h.Scheme, h.Path = header.Span{}, header.Span{} }, ":method=GET :scheme=http :path=/ :authority=a.b"},
		{"what belongs to an HTTP/1 connection stays behind (8.2.2)", "GET http a / Connection=close Keep-Alive=1 Proxy-Connection=x Transfer-Encoding=chunked Host=b HTTP2-Settings=x te=gzip x-a=b", nil, ":method=GET :scheme=http :path=/ :authority=a x-a=b"},
		{"te: trailers goes along", "GET http a / te=trailers", nil, ":method=GET :scheme=http :path=/ :authority=a te=trailers"},
		{"names are lower case (8.2.1)", "GET http a / X-Own-Name=B ACCEPT=c", nil, ":method=GET :scheme=http :path=/ :authority=a x-own-name=B accept=c"},
		{"content-length is the head's number", "POST http a / content-length=7", func(h *header.Head) { h.ContentLength = 5 }, ":method=POST :scheme=http :path=/ :authority=a content-length=5"},
		{"no number, no content-length", "POST http a / content-length=7", func(h *header.Head) { h.ContentLength = -1 }, ":method=POST :scheme=http :path=/ :authority=a"},
		{"CONNECT (8.5)", "CONNECT http a:1 / x-a=b", nil, ":method=CONNECT :authority=a:1 x-a=b"},
		{"an upgrade is extended CONNECT (UP-11)", "GET https a /c Connection=upgrade Upgrade=WebSocket x-a=b", nil, ":method=CONNECT :scheme=https :path=/c :authority=a :protocol=WebSocket x-a=b"},
		{"OPTIONS *", "OPTIONS http a *", nil, ":method=OPTIONS :scheme=http :path=* :authority=a"},
		{"removed fields stay removed", "GET http a / x-a=b via=c", func(h *header.Head) { h.Remove(header.Via) }, ":method=GET :scheme=http :path=/ :authority=a x-a=b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, true, func(o *Options) { o.AllowConnect = true })
			w.feed(t, p.frames("settings 8=1"))
			w.taken(p)
			h := headOf(tc.head)
			if tc.edit != nil {
				tc.edit(h)
			}
			st := w.c.Open(h, true)
			if got := w.taken(p); got != "headers 1 end "+tc.want {
				t.Errorf("\n got %s\nwant headers 1 end %s", got, tc.want)
			}
			if st.State() != StateHalfClosedLocal || st.ID() != 1 {
				t.Errorf("state %s", st.State())
			}
		})
	}
}

func TestResponsesWritten(t *testing.T) {
	for _, tc := range []struct {
		name, head string
		end        bool
		want       string
	}{
		{"plain", "200 server=x", false, "headers 1 :status=200 server=x"},
		{"ended", "404", true, "headers 1 end :status=404"},
		{"a status that is in no table", "418", true, "headers 1 end :status=418"},
		{"interim (HC-40)", "103 link=x", false, "headers 1 :status=103 link=x"},
		{"101 is 200 (UP-11)", "101 connection=upgrade upgrade=websocket", false, "headers 1 :status=200"},
		{"content-length", "200 content-length=5", false, "headers 1 :status=200 content-length=5"},
		{"204 has no content-length (HC-45)", "204 content-length=0", true, "headers 1 end :status=204"},
		{"304 may have one", "304 content-length=5", true, "headers 1 end :status=304 content-length=5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, false, nil)
			w.feed(t, p.frames("headers 1 end get"))
			w.c.WriteHeaders(w.streams[1], headOf(tc.head), tc.end)
			if got := w.taken(p); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			if closed := w.streams[1].State() == StateClosed; closed != tc.end {
				t.Errorf("state %s", w.streams[1].State())
			}
		})
	}
}

func TestTrailersWritten(t *testing.T) {
	for head, want := range map[string]string{
		"200 grpc-status=0 X-Sum=1":               "headers 1 end grpc-status=0 x-sum=1",
		"200 content-length=1 connection=x via=y": "headers 1 end via=y",
		"200 content-length=1":                    "data 1 end ",
	} {
		w, p := begin(t, false, nil)
		w.feed(t, p.frames("headers 1 end get"))
		w.c.WriteHeaders(w.streams[1], headOf("200"), false)
		w.taken(p)
		w.c.WriteTrailers(w.streams[1], headOf(head))
		if got := w.taken(p); got != want || w.streams[1].State() != StateClosed {
			t.Errorf("%s: %s", head, got)
		}
	}
}

func TestLongBlocksAreContinued(t *testing.T) {
	for _, size := range []int{16300, 16384, 16400, 40_000, 3 * 16384} {
		w, p := begin(t, false, nil)
		w.feed(t, p.frames("headers 1 end get"))
		// Characters of 8 bits, so that the size is known.
		value := strings.Repeat("&", size)
		h := headOf("200")
		h.AddString(header.Unknown, "x-a", value)
		h.AddString(header.Unknown, "x-b", "c")
		w.c.WriteHeaders(w.streams[1], h, true)
		if got := w.taken(p); got != "headers 1 end :status=200 x-a="+value+" x-b=c" {
			t.Errorf("%d: %d bytes of something else", size, len(got))
		}
		w2, _ := begin(t, false, func(o *Options) { o.MaxHeadBytes = 1 << 17 })
		var names []string
		for i := range size / 1000 {
			names = append(names, fmt.Sprintf("x-%d=%s", i, strings.Repeat("&", 990)))
		}
		c, cp := begin(t, true, nil)
		c.c.Open(headOf("GET http a / "+strings.Join(names, " ")), true)
		out := c.c.Output()
		if e := w2.feed(t, out); e != OK {
			t.Errorf("%d: read back: %s", size, e.Explain())
		}
		if log := w2.takeLog(); !strings.HasSuffix(log, names[len(names)-1]+" end") {
			t.Errorf("%d: read back as %d bytes", size, len(log))
		}
		c.taken(cp)
	}
}

func TestWritersDoNothingOnStreamsThatCannotSend(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("headers 1 post"))
	st := w.streams[1]
	w.c.WriteHeaders(st, headOf("200"), true)
	w.taken(p)
	w.c.WriteHeaders(st, headOf("200"), true)
	w.c.WriteTrailers(st, headOf("200 x-a=b"))
	if n := w.c.WriteData(st, []byte("abc"), true); n != 3 || w.taken(p) != "" {
		t.Errorf("%d taken", n)
	}
	w.feed(t, p.frames("reset 1 8"))
	w.c.Reset(st, Cancel)
	w.c.Consumed(st, 10)
	if got := w.taken(p); got != "" {
		t.Errorf("wrote %s", got)
	}
	w.c.Release(st)
}

func TestReleaseOfALivingStream(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("headers 1 post", "headers 3 post"))
	w.c.WriteHeaders(w.streams[1], headOf("200"), true)
	w.taken(p)
	w.c.Release(w.streams[1])
	w.c.Release(w.streams[3])
	if got := w.taken(p); got != "reset 1 NO_ERROR; reset 3 CANCEL" {
		t.Errorf("got %s (HC-72)", got)
	}
}

func TestPingAndPong(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("ping", "ping ack"))
	if got, log := w.taken(p), w.takeLog(); got != "ping ack 7" || log != "pong 7" {
		t.Errorf("output %s, events %s", got, log)
	}
	if w.c.Ping(9); w.taken(p) != "ping 9" {
		t.Error("no ping")
	}
}

func TestCloseTellsEveryStream(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames(requests(1, 100)...))
	w.feed(t, p.frames("headers 201 more get"))
	w.takeLog()
	w.onReset = func(st *Stream) {
		w.c.Release(st)
		w.c.Close(ErrClosed) // the owner's own close calls back
	}
	w.c.Close(ErrClosed)
	if n := strings.Count(w.takeLog(), "reset"); n != 100 || w.c.Active() != 0 {
		t.Errorf("%d told, %d left", n, w.c.Active())
	}
	if got := w.taken(p); got != "" {
		t.Errorf("wrote %s to a transport that is gone", got)
	}
}

// TestCallsFromEvents: the owner may end streams, and the connection, in the middle of anything.
func TestCallsFromEvents(t *testing.T) {
	frames := []string{"headers 1 post", "headers 3 post", "data 1 abc", "data 3 abc", "headers 3 end x-a=b", "data 1 end", "window 0 5", "settings 4=5"}
	for name, act := range map[string]func(w *owner, st *Stream){
		"release": func(w *owner, st *Stream) { w.c.Release(st) },
		"reset":   func(w *owner, st *Stream) { w.c.Reset(st, InternalError) },
		"close":   func(w *owner, _ *Stream) { w.c.Close(ErrClosed) },
		"answer":  func(w *owner, st *Stream) { w.c.WriteHeaders(st, headOf("200"), true) },
		"answer and release": func(w *owner, st *Stream) {
			w.c.WriteHeaders(st, headOf("200"), true)
			w.c.Release(st)
		},
	} {
		for _, at := range []string{"head", "data"} {
			t.Run(name+" at "+at, func(t *testing.T) {
				w, p := begin(t, false, nil)
				if at == "head" {
					w.onHeaders = func(st *Stream, _ *header.Head, _ bool) { act(w, st) }
				} else {
					done := map[uint32]bool{}
					w.onData = func(st *Stream, _ []byte, _ bool) {
						if !done[st.ID()] {
							done[st.ID()] = true
							act(w, st)
						}
					}
				}
				if e := w.feed(t, p.frames(frames...)); e != OK {
					t.Error(e.Explain())
				}
				w.taken(p)
			})
		}
	}
}
