package http2

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

func TestHandshake(t *testing.T) {
	w, p := newOwner(false, func(o *Options) { o.AllowConnect = true }), newPeer(t)
	if got, want := w.taken(p), "settings 3=1024 8=1 4=16777216; window 0 25100289"; got != want {
		t.Errorf("a server begins with %s, want %s", got, want)
	}
	if w.c.SettingsAcked() || w.c.PeerReady() {
		t.Error("nothing has come yet")
	}
	if e := w.feed(t, p.frames("preface", "settings 4=100000", "settings ack")); e != OK {
		t.Fatal(e.Explain())
	}
	if got := w.taken(p); got != "settings ack" || !w.c.SettingsAcked() || !w.c.PeerReady() {
		t.Errorf("then answers %s", got)
	}
	c := newOwner(true, func(o *Options) { o.TableSize = 8192; o.InitialConnWindow, o.InitialStreamWindow = 65535, 65535 })
	if !strings.HasPrefix(string(c.c.Output()), Preface) {
		t.Error("a client begins without the preface")
	}
	if got, want := c.taken(newPeer(t)), "settings 1=8192 2=0"; got != want {
		t.Errorf("a client begins with %s, want %s", got, want)
	}
}

// TestRequestsAndResponses is the way of well-formed messages, both roles.
func TestRequestsAndResponses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client bool
		open   []string // requests of a client; ended when they end in a dot
		frames []string
		want   string
	}{
		{name: "a request without a body", frames: []string{"headers 1 end get x-a=b"}, want: "head 1 GET https://a.b/ x-a=b end"},
		{name: "a request with a body", frames: []string{"headers 1 post", "data 1 abc", "data 1 end def"}, want: "head 1 POST https://a.b/; data 1 abc; data 1 def end"},
		{name: "an empty frame that ends", frames: []string{"headers 1 post", "data 1 end"}, want: "head 1 POST https://a.b/; data 1  end"},
		{name: "padding is not data", frames: []string{"headers 1 post", "padded 1 255 abc", "padded 1 end 3 def"}, want: "head 1 POST https://a.b/; data 1 abc; data 1 def end"},
		{name: "trailers (HC-71)", frames: []string{"headers 1 post", "data 1 abc", "headers 1 end x-sum=1"}, want: "head 1 POST https://a.b/; data 1 abc; trailers 1 x-sum=1"},
		{name: "trailers that mean something before the body only are dropped (RFC 9110 6.5.1)", frames: []string{"headers 1 post", "headers 1 end content-length=5 x-a=1 authorization=x host=q"}, want: "head 1 POST https://a.b/; trailers 1 x-a=1"},
		{name: "a block in pieces", frames: []string{"headers 1 end more get", "cont 1 more x-a=b", "cont 1 x-c=d"}, want: "head 1 GET https://a.b/ x-a=b x-c=d end"},
		{name: "padding and priority in HEADERS", frames: []string{"raw 1 45 1 02 0000000010 8287 84 41 03 612e62 0000"}, want: "head 1 GET https://a.b/ end"},
		{name: "streams side by side", frames: []string{"headers 1 post", "headers 3 post", "data 3 end b", "data 1 end a"}, want: "head 1 POST https://a.b/; head 3 POST https://a.b/; data 3 b end; data 1 a end"},
		{name: "numbers may be skipped", frames: []string{"headers 1 end get", "headers 9 end get"}, want: "head 1 GET https://a.b/ end; head 9 GET https://a.b/ end"},
		{name: "unknown frames and settings are ignored (5.5, 6.5.2)", frames: []string{"raw 99 255 1 00", "raw 77 0 0", "settings 99=5", "headers 1 end get"}, want: "head 1 GET https://a.b/ end"},
		{name: "PRIORITY is ignored, even on idle streams", frames: []string{"priority 7", "headers 1 end get", "priority 1"}, want: "head 1 GET https://a.b/ end"},
		{name: "the peer resets", frames: []string{"headers 1 post", "reset 1 8"}, want: "head 1 POST https://a.b/; reset 1 CANCEL theirs"},
		{name: "cookie crumbs are joined (HC-65)", frames: []string{"headers 1 end get cookie=a%3db cookie=c%3dd x-a=b cookie=e%3df"}, want: "head 1 GET https://a.b/ cookie=a=b; c=d; e=f x-a=b end"},
		{name: "empty crumbs say nothing", frames: []string{"headers 1 end get cookie= cookie=a%3db cookie="}, want: "head 1 GET https://a.b/ cookie=a=b end"},
		{name: "Host beside :authority is dropped (HC-63)", frames: []string{"headers 1 end get host=other"}, want: "head 1 GET https://a.b/ end"},
		{name: "Host in place of :authority", frames: []string{"headers 1 end :method=GET :scheme=http :path=/ host=h:1"}, want: "head 1 GET http://h:1/ end"},
		{name: "no authority at all is for the owner to refuse", frames: []string{"headers 1 end :method=GET :scheme=http :path=/"}, want: "head 1 GET http:/// end"},
		{name: "OPTIONS *", frames: []string{"headers 1 end :method=OPTIONS :scheme=http :path=* :authority=a"}, want: "head 1 OPTIONS http://a* end"},
		{name: "te: trailers", frames: []string{"headers 1 end get te=trailers"}, want: "head 1 GET https://a.b/ te=trailers end"},
		{name: "content-length that is kept (HC-64)", frames: []string{"headers 1 post content-length=6", "data 1 abc", "data 1 end def"}, want: "head 1 POST https://a.b/ content-length=6; data 1 abc; data 1 def end"},
		{name: "CONNECT (UP-35)", frames: []string{"headers 1 :method=CONNECT :authority=h:443", "data 1 x"}, want: "head 1 CONNECT ://h:443; data 1 x"},
		{name: "extended CONNECT takes the form of an upgrade (UP-12)", frames: []string{"headers 1 :method=CONNECT :protocol=websocket :scheme=https :path=/chat :authority=h"}, want: "head 1 GET https://h/chat connection=upgrade upgrade=websocket"},
		{name: "bytestream is plain CONNECT (UP-2a)", frames: []string{"headers 1 :method=CONNECT :protocol=bytestream :scheme=https :path=/ :authority=h:1"}, want: "head 1 CONNECT https://h:1"},

		{name: "a response", client: true, open: []string{"GET http a /."}, frames: []string{"headers 1 200 server=x", "data 1 end abc"}, want: "head 1 200 server=x; data 1 abc end"},
		{name: "interim responses (HC-40)", client: true, open: []string{"POST http a /"}, frames: []string{"headers 1 :status=100", "headers 1 :status=103 link=x", "headers 1 end :status=204"}, want: "head 1 100; head 1 103 link=x; head 1 204 end"},
		{name: "HEAD keeps its length (HC-45)", client: true, open: []string{"HEAD http a /."}, frames: []string{"headers 1 end 200 content-length=9"}, want: "head 1 200 content-length=9 end"},
		{name: "304 keeps its length", client: true, open: []string{"GET http a /."}, frames: []string{"headers 1 :status=304 content-length=9", "data 1 end"}, want: "head 1 304 content-length=9; data 1  end"},
		{name: "204 with a length of zero", client: true, open: []string{"GET http a /."}, frames: []string{"headers 1 end :status=204 content-length=0"}, want: "head 1 204 end"},
		{name: "2xx to CONNECT has no length (HC-47)", client: true, open: []string{"CONNECT http a:1 /"}, frames: []string{"headers 1 200 content-length=9", "data 1 abc"}, want: "head 1 200; data 1 abc"},
		{name: "200 to an upgrade is 101 (UP-11)", client: true, open: []string{"GET http a / upgrade=websocket"}, frames: []string{"headers 1 200", "data 1 abc"}, want: "head 1 101; data 1 abc"},
		{name: "other answers to an upgrade stay (UP-14)", client: true, open: []string{"GET http a / upgrade=websocket"}, frames: []string{"headers 1 :status=403", "data 1 end no"}, want: "head 1 403; data 1 no end"},
		{name: "response trailers", client: true, open: []string{"GET http a /."}, frames: []string{"headers 1 200", "data 1 abc", "headers 1 end grpc-status=0"}, want: "head 1 200; data 1 abc; trailers 1 grpc-status=0"},
		{name: "GOAWAY ends the streams above it (HC-76)", client: true, open: []string{"GET http a /.", "GET http a /.", "GET http a /."}, frames: []string{"goaway 3 0", "headers 1 end 200"}, want: "goaway 3 NO_ERROR; reset 5 REFUSED_STREAM ours; head 1 200 end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, tc.client, func(o *Options) { o.AllowConnect = true })
			if tc.client {
				w.feed(t, p.frames("settings 8=1"))
			}
			for _, r := range tc.open {
				words, end := strings.CutSuffix(r, ".")
				if w.c.Open(headOf(words), end) == nil {
					t.Fatal("no stream")
				}
			}
			if e := w.feed(t, p.frames(tc.frames...)); e != OK {
				t.Fatal(e.Explain())
			}
			if got := w.takeLog(); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestTransferOfHeads(t *testing.T) {
	for _, tc := range []struct {
		frame  string
		want   header.TransferKind
		length int64
	}{
		{"headers 1 end get", header.NoBody, -1},
		{"headers 1 post", header.Framed, -1},
		{"headers 1 post content-length=7", header.Framed, 7},
		{"headers 1 end post content-length=0", header.NoBody, 0},
		{"headers 1 :method=CONNECT :authority=a:1 content-length=0", header.Tunnel, -1},
	} {
		w, p := begin(t, false, nil)
		w.onHeaders = func(_ *Stream, h *header.Head, _ bool) {
			if h.Transfer != tc.want || h.ContentLength != tc.length || h.Version != header.HTTP2 {
				t.Errorf("%s: transfer %d, length %d", tc.frame, h.Transfer, h.ContentLength)
			}
		}
		if e := w.feed(t, p.frames(tc.frame)); e != OK || len(w.log) != 1 {
			t.Errorf("%s: %s", tc.frame, e.Explain())
		}
	}
}

// TestConnectionErrors: each row ends the connection with GOAWAY and its code.
func TestConnectionErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client bool
		frames []string
		want   Err
		code   ErrCode
	}{
		{"frame over 16384 bytes (HC-61)", false, []string{"data 1 16385*x"}, ErrFrameSize, FrameSizeError},
		{"DATA on stream 0 (6.1)", false, []string{"data 0 x"}, ErrStreamID, ProtocolError},
		{"DATA on an idle stream (5.1)", false, []string{"data 1 x"}, ErrStreamID, ProtocolError},
		{"DATA with padding as long as the frame (6.1)", false, []string{"headers 1 post", "raw 0 8 1 03 0000"}, ErrPadding, ProtocolError},
		{"padded DATA without a pad length", false, []string{"headers 1 post", "raw 0 8 1"}, ErrFrameSize, FrameSizeError},
		{"HEADERS on stream 0 (6.2)", false, []string{"headers 0 end get"}, ErrStreamID, ProtocolError},
		{"HEADERS on an even stream (5.1.1)", false, []string{"headers 2 end get"}, ErrStreamID, ProtocolError},
		{"HEADERS with too much padding (6.2)", false, []string{"raw 1 12 1 05 8287"}, ErrPadding, ProtocolError},
		{"padded HEADERS without a pad length", false, []string{"raw 1 12 1"}, ErrFrameSize, FrameSizeError},
		{"HEADERS with a cut priority", false, []string{"raw 1 36 1 000000"}, ErrFrameSize, FrameSizeError},
		{"HEADERS on a skipped stream (5.1.1)", false, []string{"headers 5 end get", "headers 3 end get"}, ErrStreamID, ProtocolError},
		{"a field block that is no HPACK (4.3)", false, []string{"raw 1 5 1 80"}, ErrCompression, CompressionError},
		{"DATA inside a field block (6.10)", false, []string{"headers 1 more get", "data 1 x"}, ErrFrame, ProtocolError},
		{"an unknown frame inside a field block (5.5)", false, []string{"headers 1 more get", "raw 99 0 0"}, ErrFrame, ProtocolError},
		{"CONTINUATION of another stream (6.10)", false, []string{"headers 1 more get", "cont 3 x-a=b"}, ErrFrame, ProtocolError},
		{"CONTINUATION of nothing (6.10)", false, []string{"cont 1 x-a=b"}, ErrFrame, ProtocolError},
		{"PRIORITY on stream 0 (6.3)", false, []string{"raw 2 0 0 0000000000"}, ErrStreamID, ProtocolError},
		{"PRIORITY of a wrong length (6.3)", false, []string{"raw 2 0 1 00"}, ErrFrameSize, FrameSizeError},
		{"RST_STREAM on stream 0 (6.4)", false, []string{"reset 0 8"}, ErrStreamID, ProtocolError},
		{"RST_STREAM on an idle stream (6.4)", false, []string{"reset 1 8"}, ErrStreamID, ProtocolError},
		{"RST_STREAM of a wrong length (6.4)", false, []string{"headers 1 get", "raw 3 0 1 00"}, ErrFrameSize, FrameSizeError},
		{"SETTINGS on a stream (6.5)", false, []string{"raw 4 0 1"}, ErrStreamID, ProtocolError},
		{"SETTINGS of a wrong length (6.5)", false, []string{"raw 4 0 0 00"}, ErrFrameSize, FrameSizeError},
		{"SETTINGS ack with a payload (6.5)", false, []string{"raw 4 1 0 000100000000"}, ErrFrameSize, FrameSizeError},
		{"SETTINGS ack of nothing", false, []string{"settings ack"}, ErrSetting, ProtocolError},
		{"ENABLE_PUSH of 2 (6.5.2)", false, []string{"settings 2=2"}, ErrSetting, ProtocolError},
		{"ENABLE_PUSH from a server (6.5.2)", true, []string{"settings 2=1"}, ErrSetting, ProtocolError},
		{"INITIAL_WINDOW_SIZE over the limit (6.5.2)", false, []string{"settings 4=2147483648"}, ErrInitialWindow, FlowControlError},
		{"INITIAL_WINDOW_SIZE that overflows a stream (6.9.2)", false, []string{"headers 1 get", "window 1 2147418112", "settings 4=65536"}, ErrInitialWindow, FlowControlError},
		{"MAX_FRAME_SIZE too small (6.5.2)", false, []string{"settings 5=16383"}, ErrSetting, ProtocolError},
		{"MAX_FRAME_SIZE too large (6.5.2)", false, []string{"settings 5=16777216"}, ErrSetting, ProtocolError},
		{"ENABLE_CONNECT_PROTOCOL of 2 (RFC 8441 3)", false, []string{"settings 8=2"}, ErrSetting, ProtocolError},
		{"ENABLE_CONNECT_PROTOCOL taken back (RFC 8441 3)", true, []string{"settings 8=1", "settings 8=0"}, ErrSetting, ProtocolError},
		{"PUSH_PROMISE to a server (8.4)", false, []string{"headers 1 get", "push 1 2"}, ErrFrame, ProtocolError},
		{"PUSH_PROMISE to a client (HC-69)", true, []string{"push 1 2"}, ErrFrame, ProtocolError},
		{"PING on a stream (6.7)", false, []string{"raw 6 0 1 0000000000000000"}, ErrStreamID, ProtocolError},
		{"PING of a wrong length (6.7)", false, []string{"raw 6 0 0 00"}, ErrFrameSize, FrameSizeError},
		{"GOAWAY on a stream (6.8)", false, []string{"raw 7 0 1 0000000000000000"}, ErrStreamID, ProtocolError},
		{"GOAWAY of a wrong length (6.8)", false, []string{"raw 7 0 0 00"}, ErrFrameSize, FrameSizeError},
		{"GOAWAY that raises its stream (6.8)", true, []string{"goaway 1 0", "goaway 3 0"}, ErrGoAwayRaised, ProtocolError},
		{"WINDOW_UPDATE of a wrong length (6.9)", false, []string{"raw 8 0 0 00"}, ErrFrameSize, FrameSizeError},
		{"WINDOW_UPDATE of zero for the connection (6.9)", false, []string{"window 0 0"}, ErrConnWindowUpdate, ProtocolError},
		{"WINDOW_UPDATE beyond 2^31-1 for the connection (6.9.1)", false, []string{"window 0 2147483647"}, ErrConnWindowOverflow, FlowControlError},
		{"WINDOW_UPDATE on an idle stream (5.1)", false, []string{"window 1 1"}, ErrStreamID, ProtocolError},
		{"a response to no request", true, []string{"headers 1 end 200"}, ErrStreamID, ProtocolError},
		{"a head on a stream only servers open", true, []string{"headers 2 end 200"}, ErrStreamID, ProtocolError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, tc.client, nil)
			b := p.frames(tc.frames...)
			n, e := w.c.Feed(b)
			if e != tc.want || n != len(b) || e.Code() != tc.code {
				t.Fatalf("got %s (%s), used %d of %d", e.Explain(), e.Code(), n, len(b))
			}
			out := w.taken(p)
			if !strings.Contains(out, "goaway") || !strings.HasSuffix(out, tc.code.String()) {
				t.Errorf("output %s", out)
			}
			if !w.c.Over() || w.c.Active() != 0 {
				t.Error("the connection goes on")
			}
			if n, e := w.c.Feed([]byte("more")); n != 4 || e != OK {
				t.Errorf("afterwards Feed gives %d, %s", n, e.Explain())
			}
			if w.c.Ping(1); len(w.c.Output()) > 0 {
				t.Error("writes after the end")
			}
		})
	}
}

func TestPrefaceMustBeRight(t *testing.T) {
	for _, tc := range []struct {
		name, bytes string
		want        Err
	}{
		{"whole", Preface, OK},
		{"a part of it", Preface[:10], OK},
		{"HTTP/1", "GET / HTTP/1.1\r\n", ErrPreface},
		{"wrong at its end", Preface[:23] + "x", ErrPreface},
		{"followed by PING in place of SETTINGS", Preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", ErrPreface},
		{"followed by an acknowledgement", Preface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", ErrPreface},
	} {
		w := newOwner(false, nil)
		if _, e := w.c.Feed([]byte(tc.bytes)); e != tc.want {
			t.Errorf("%s: %s", tc.name, e.Explain())
		}
	}
}

// TestStreamErrors: each row ends stream 1 alone, with RST_STREAM and its code.
func TestStreamErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client bool
		frames []string
		want   string
	}{
		{"DATA after END_STREAM (5.1)", false, []string{"headers 1 end get", "data 1 x"}, "reset 1 STREAM_CLOSED"},
		{"HEADERS after END_STREAM (5.1)", false, []string{"headers 1 end get", "headers 1 end x-a=b"}, "reset 1 STREAM_CLOSED"},
		{"DATA after the peer's reset (5.1)", false, []string{"headers 1 post", "reset 1 8", "data 1 x"}, "reset 1 STREAM_CLOSED"},
		{"HEADERS after the peer's reset (5.1)", false, []string{"headers 1 post", "reset 1 8", "headers 1 end x-a=b", "headers 1 end x-a=b"}, "reset 1 STREAM_CLOSED"},
		{"WINDOW_UPDATE of zero (6.9)", false, []string{"headers 1 get", "window 1 0"}, "reset 1 PROTOCOL_ERROR"},
		{"WINDOW_UPDATE beyond 2^31-1 (6.9.1)", false, []string{"headers 1 get", "window 1 2147483647"}, "reset 1 FLOW_CONTROL_ERROR"},
		{"less data than content-length (HC-64)", false, []string{"headers 1 post content-length=4", "data 1 end abc"}, "reset 1 PROTOCOL_ERROR"},
		{"more data than content-length (HC-64)", false, []string{"headers 1 post content-length=2", "data 1 abc"}, "reset 1 PROTOCOL_ERROR"},
		{"no data in spite of content-length (HC-64)", false, []string{"headers 1 end post content-length=2"}, "reset 1 PROTOCOL_ERROR"},
		{"trailers before the length is reached (HC-64)", false, []string{"headers 1 post content-length=2", "headers 1 end x-a=b"}, "reset 1 PROTOCOL_ERROR"},
		{"data behind HEAD", true, []string{"headers 1 200", "data 1 x"}, "reset 1 PROTOCOL_ERROR"},
		{"extended CONNECT that was not offered (UP-12)", false, []string{"headers 1 :method=CONNECT :protocol=websocket :scheme=https :path=/ :authority=h"}, "reset 1 PROTOCOL_ERROR"},
		{"too many fields (HC-68)", false, []string{"headers 1 end get a=1 b=2 c=3 d=4 e=5"}, "reset 1 ENHANCE_YOUR_CALM"},
		{"too large a head (HC-68)", false, []string{"headers 1 end get x-a=" + strings.Repeat("x", 300)}, "reset 1 ENHANCE_YOUR_CALM"},
		{"too large trailers (HC-13)", false, []string{"headers 1 post", "headers 1 end x-a=" + strings.Repeat("x", 300)}, "reset 1 ENHANCE_YOUR_CALM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, tc.client, func(o *Options) { o.MaxHeadBytes, o.MaxFields = 250, 8 })
			if tc.client {
				w.c.Open(headOf("HEAD http a /"), true)
				w.taken(p)
			}
			if e := w.feed(t, p.frames(tc.frames...)); e != OK {
				t.Fatal(e.Explain())
			}
			if got := w.taken(p); got != tc.want {
				t.Errorf("output %s, want %s", got, tc.want)
			}
			if n := strings.Count(w.takeLog(), "reset 1"); n != 1 {
				t.Errorf("%d resets", n)
			}
			// The connection goes on, and the tables of both ends agree.
			if !tc.client {
				if e := w.feed(t, p.frames("headers 3 end get x-a=b")); e != OK || w.takeLog() != "head 3 GET https://a.b/ x-a=b end" {
					t.Errorf("afterwards: %s", e.Explain())
				}
			}
		})
	}
}

// TestClosedStreams: what comes on a stream that is over (RFC 9113 5.1).
func TestClosedStreams(t *testing.T) {
	for _, tc := range []struct {
		name  string
		end   func(w *owner, st *Stream)
		frame string
		want  Err
	}{
		{"DATA when both sides have ended", endBoth, "data 1 x", ErrStreamEnded},
		{"HEADERS when both sides have ended", endBoth, "headers 1 end x-a=b", ErrStreamEnded},
		{"WINDOW_UPDATE when both sides have ended", endBoth, "window 1 5", OK},
		{"RST_STREAM when both sides have ended", endBoth, "reset 1 8", OK},
		{"PRIORITY when both sides have ended", endBoth, "priority 1", OK},
		{"DATA that crossed our reset", resetIt, "data 1 x", OK},
		{"trailers that crossed our reset", resetIt, "headers 1 end x-a=b", OK},
		{"WINDOW_UPDATE that crossed our reset", resetIt, "window 1 5", OK},
		{"RST_STREAM that crossed our reset", resetIt, "reset 1 8", OK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, false, nil)
			w.feed(t, p.frames("headers 1 post"))
			tc.end(w, w.streams[1])
			if e := w.c.streams.get(1); e != nil {
				t.Fatalf("the stream is %s", e.State())
			}
			w.taken(p)
			w.takeLog()
			if e := w.feed(t, p.frames(tc.frame)); e != tc.want {
				t.Errorf("got %s", e.Explain())
			}
			if log := w.takeLog(); log != "" {
				t.Errorf("events %s", log)
			}
		})
	}
}

// A server's NO_ERROR is counted of a stream that goes on and of one that we have reset.
func TestResetsWithoutError(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client bool
		end    func(w *owner, st *Stream)
		code   string
		want   int
	}{
		{"it goes on", true, func(*owner, *Stream) {}, "0", 1},
		{"we have reset it", true, resetIt, "0", 1},
		{"another code", true, func(*owner, *Stream) {}, "8", 0},
		{"another code crosses our reset", true, resetIt, "8", 0},
		{"a client's", false, func(*owner, *Stream) {}, "0", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, p := begin(t, tc.client, nil)
			var st *Stream
			if tc.client {
				st = w.c.Open(headOf("get"), false)
			} else {
				w.feed(t, p.frames("headers 1 post"))
				st = w.streams[1]
			}
			tc.end(w, st)
			if e := w.feed(t, p.frames("reset 1 "+tc.code)); e != OK {
				t.Errorf("got %s", e.Explain())
			}
			if n := w.counts[RxResetNoError]; n != tc.want {
				t.Errorf("%d are counted, want %d", n, tc.want)
			}
		})
	}
}

func endBoth(w *owner, st *Stream) {
	w.c.Feed([]byte("\x00\x00\x00\x00\x01\x00\x00\x00\x01"))
	w.c.WriteHeaders(st, headOf("200"), true)
	w.c.Release(st)
}

func resetIt(w *owner, st *Stream) {
	w.c.Reset(st, Cancel)
	w.c.Release(st)
}

// TestMalformedMessages: each row ends its stream, or the connection when that is what is configured.
func TestMalformedMessages(t *testing.T) {
	for _, tc := range []struct {
		name   string
		frames []string
		want   Err
	}{
		{"no :method (HC-62)", []string{"headers 1 end :scheme=http :path=/ :authority=a"}, ErrPseudo},
		{"no :scheme", []string{"headers 1 end :method=GET :path=/ :authority=a"}, ErrPseudo},
		{"no :path", []string{"headers 1 end :method=GET :scheme=http :authority=a"}, ErrPseudo},
		{"nothing at all", []string{"headers 1 end"}, ErrPseudo},
		{"an empty :path", []string{"headers 1 end :method=GET :scheme=http :path= :authority=a"}, ErrPath},
		{":path without a slash", []string{"headers 1 end :method=GET :scheme=http :path=a :authority=a"}, ErrPath},
		{":path with a space", []string{"headers 1 end :method=GET :scheme=http :path=/a%20b :authority=a"}, ErrPath},
		{":path with a line break", []string{"headers 1 end :method=GET :scheme=http :path=/a%0d%0ab :authority=a"}, ErrPath},
		{"* with GET", []string{"headers 1 end :method=GET :scheme=http :path=* :authority=a"}, ErrPath},
		{"a repeated pseudo-header", []string{"headers 1 end get :path=/"}, ErrPseudo},
		{"an unknown pseudo-header", []string{"headers 1 end get :foo=/"}, ErrPseudo},
		{":status in a request", []string{"headers 1 end get :status=200"}, ErrPseudo},
		{"a pseudo-header behind a field", []string{"headers 1 end :method=GET :scheme=http x-a=b :path=/"}, ErrPseudo},
		{":protocol without CONNECT", []string{"headers 1 end get :protocol=websocket"}, ErrPseudo},
		{"a pseudo-header in trailers", []string{"headers 1 post", "headers 1 end :path=/"}, ErrPseudo},
		{"an empty method", []string{"headers 1 end :method= :scheme=http :path=/ :authority=a"}, ErrMethod},
		{"a method with a space", []string{"headers 1 end :method=A%20B :scheme=http :path=/ :authority=a"}, ErrMethod},
		{"a scheme with a slash", []string{"headers 1 end :method=GET :scheme=a/b :path=/ :authority=a"}, ErrScheme},
		{"an empty authority", []string{"headers 1 end :method=GET :scheme=http :path=/ :authority="}, ErrAuthority},
		{"userinfo in the authority (8.3.1)", []string{"headers 1 end :method=GET :scheme=http :path=/ :authority=u@a"}, ErrAuthority},
		{"a path in the authority", []string{"headers 1 end :method=GET :scheme=http :path=/ :authority=a/b"}, ErrAuthority},
		{"Host repeated", []string{"headers 1 end get host=a host=a"}, ErrAuthority},
		{"Host that is none", []string{"headers 1 end get host=a/b"}, ErrAuthority},
		{"a capital letter in a name (HC-63)", []string{"headers 1 end get X-a=b"}, ErrFieldName},
		{"a capital letter in a known name", []string{"headers 1 end get Accept=b"}, ErrFieldName},
		{"a space in a name", []string{"headers 1 end get x%20a=b"}, ErrFieldName},
		{"a NUL in a value", []string{"headers 1 end get x-a=a%00b"}, ErrFieldValue},
		{"a line break in a value", []string{"headers 1 end get x-a=a%0ab"}, ErrFieldValue},
		{"a space before a value", []string{"headers 1 end get x-a=%20b"}, ErrFieldValue},
		{"connection", []string{"headers 1 end get connection=close"}, ErrConnectionField},
		{"keep-alive", []string{"headers 1 end get keep-alive=1"}, ErrConnectionField},
		{"proxy-connection", []string{"headers 1 end get proxy-connection=close"}, ErrConnectionField},
		{"transfer-encoding", []string{"headers 1 end get transfer-encoding=chunked"}, ErrConnectionField},
		{"upgrade", []string{"headers 1 end get upgrade=websocket"}, ErrConnectionField},
		{"te beyond trailers", []string{"headers 1 end get te=trailers,gzip"}, ErrConnectionField},
		{"connection in trailers", []string{"headers 1 post", "headers 1 end connection=close"}, ErrConnectionField},
		{"content-length that is no number", []string{"headers 1 post content-length=+1"}, ErrContentLength},
		{"content-length repeated", []string{"headers 1 post content-length=1 content-length=1"}, ErrContentLength},
		{"CONNECT with a length (HC-28)", []string{"headers 1 :method=CONNECT :authority=a:1 content-length=1"}, ErrContentLength},
		{"CONNECT with :path (UP-35)", []string{"headers 1 :method=CONNECT :authority=a:1 :path=/"}, ErrConnect},
		{"CONNECT with :scheme", []string{"headers 1 :method=CONNECT :authority=a:1 :scheme=http"}, ErrConnect},
		{"CONNECT without :authority", []string{"headers 1 :method=CONNECT"}, ErrConnect},
		{"CONNECT without a port", []string{"headers 1 :method=CONNECT :authority=a"}, ErrConnect},
		{"extended CONNECT without :path (UP-35)", []string{"headers 1 :method=CONNECT :protocol=x :scheme=http :authority=a"}, ErrConnect},
		{"extended CONNECT with an empty :protocol", []string{"headers 1 :method=CONNECT :protocol= :scheme=http :path=/ :authority=a"}, ErrConnect},
		{"trailers behind a tunnel (8.5)", []string{"headers 1 :method=CONNECT :authority=a:1", "headers 1 end x-a=b"}, ErrConnect},
		{"trailers that do not end the stream (8.1)", []string{"headers 1 post", "headers 1 x-a=b"}, ErrTrailers},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, tolerant := range []bool{false, true} {
				w, p := begin(t, false, func(o *Options) { o.AllowConnect, o.StreamErrorOnInvalidMessage = true, tolerant })
				malformed(t, w, p, tc.frames, tc.want, tolerant)
			}
		})
	}
}

func TestMalformedResponses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		frames []string
		want   Err
	}{
		{"no :status (8.3.2)", []string{"headers 1 end server=x"}, ErrPseudo},
		{":path in a response", []string{"headers 1 end 200 :path=/"}, ErrPseudo},
		{":status of two digits", []string{"headers 1 end :status=20"}, ErrStatus},
		{":status that is no number", []string{"headers 1 end :status=2x0"}, ErrStatus},
		{":status below 100", []string{"headers 1 end :status=099"}, ErrStatus},
		{"101 (8.6)", []string{"headers 1 :status=101"}, ErrStatus},
		{"an interim response that ends the stream (8.1)", []string{"headers 1 end :status=103"}, ErrStatus},
		{"204 with a length (HC-45)", []string{"headers 1 end :status=204 content-length=1"}, ErrContentLength},
		{"data before the head (8.1)", []string{"data 1 x"}, ErrNoHead},
		{"data behind an interim head", []string{"headers 1 :status=103", "data 1 x"}, ErrNoHead},
		{"connection in a response", []string{"headers 1 end 200 connection=close"}, ErrConnectionField},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, tolerant := range []bool{false, true} {
				w, p := begin(t, true, func(o *Options) { o.StreamErrorOnInvalidMessage = tolerant })
				w.c.Open(headOf("GET http a /"), true)
				w.taken(p)
				malformed(t, w, p, tc.frames, tc.want, tolerant)
			}
		})
	}
}

func malformed(t *testing.T, w *owner, p *peer, frames []string, want Err, tolerant bool) {
	t.Helper()
	n, e := w.c.Feed(p.frames(frames...))
	out := w.taken(p)
	if !strings.Contains(w.takeLog(), "reset 1 PROTOCOL_ERROR ours") {
		t.Error("the owner was not told")
	}
	if w.counts[RxMessagingError] != 1 {
		t.Errorf("rx_messaging_error is %d", w.counts[RxMessagingError])
	}
	if tolerant {
		if e != OK || out != "reset 1 PROTOCOL_ERROR" {
			t.Errorf("tolerant: %s after %d, output %s", e.Explain(), n, out)
		}
		return
	}
	if e != want || !strings.Contains(out, "goaway") {
		t.Errorf("strict: %s, want %s, output %s", e.Explain(), want.Explain(), out)
	}
}

// TestBrokenBlocksNobodyWants: the tables of both ends part there as well.
func TestBrokenBlocksNobodyWants(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client bool
		frames []string
	}{
		{"of a refused stream", false, []string{"headers 1 end get", "raw 1 5 3 80"}},
		{"of a stream half closed", false, []string{"headers 1 end get", "raw 1 5 1 80"}},
		{"of a stream the peer has reset", false, []string{"headers 1 get", "reset 1 8", "raw 1 5 1 80"}},
		{"of trailers", false, []string{"headers 1 post", "raw 1 5 1 80"}},
		{"of a response", true, []string{"raw 1 5 1 80"}},
	} {
		w, p := begin(t, tc.client, func(o *Options) { o.MaxConcurrentStreams = 1 })
		if tc.client {
			w.c.Open(headOf("GET http a /"), true)
		}
		if e := w.feed(t, p.frames(tc.frames...)); e != ErrCompression {
			t.Errorf("%s: %s", tc.name, e.Explain())
		}
	}
}

func TestMethodsAreTold(t *testing.T) {
	for name, want := range map[string]header.Method{
		"GET": header.MethodGet, "HEAD": header.MethodHead, "POST": header.MethodPost, "PUT": header.MethodPut, "DELETE": header.MethodDelete,
		"OPTIONS": header.MethodOptions, "TRACE": header.MethodTrace, "PATCH": header.MethodPatch, "get": header.MethodOther, "M-SEARCH": header.MethodOther,
	} {
		w, p := begin(t, false, nil)
		w.onHeaders = func(_ *Stream, h *header.Head, _ bool) {
			if h.Method != want || h.Text(h.MethodText) != name {
				t.Errorf("%s is %d, %s", name, h.Method, h.Bytes(h.MethodText))
			}
		}
		if e := w.feed(t, p.frames("headers 1 end :method="+name+" :scheme=http :path=/ :authority=a")); e != OK || len(w.log) != 1 {
			t.Errorf("%s: %s", name, e.Explain())
		}
	}
}

func TestExpectation(t *testing.T) {
	for words, want := range map[string]bool{"expect=100-Continue": true, "expect=x": false, "expect=100-continue expect=100-continue": false, "x-a=b": false} {
		w, p := begin(t, false, nil)
		w.onHeaders = func(_ *Stream, h *header.Head, _ bool) {
			if h.Expect100 != want {
				t.Errorf("%s: %v (HC-39)", words, h.Expect100)
			}
		}
		if e := w.feed(t, p.frames("headers 1 post "+words)); e != OK || len(w.log) != 1 {
			t.Errorf("%s: %s", words, e.Explain())
		}
	}
}

func TestHeadsAreViewsUntilRetained(t *testing.T) {
	w, p := begin(t, false, nil)
	var kept *header.Head
	w.onHeaders = func(_ *Stream, h *header.Head, _ bool) {
		if kept == nil {
			kept = h
			h.Retain()
		}
	}
	w.feed(t, p.frames("headers 1 end get x-a=first", "headers 3 end post x-a=other"))
	if i := kept.Find(header.Unknown, "x-a"); kept.Text(kept.Fields[i].Value) != "first" || kept.Text(kept.MethodText) != "GET" {
		t.Error("the next head has overwritten a retained one")
	}
}

func TestWorkspaceGivesBackWhatIsLarge(t *testing.T) {
	w, p := begin(t, false, func(o *Options) { o.MaxHeadBytes, o.MaxFields = 1<<20, 10_000 })
	frames := []string{"headers 1 more get x-a=" + strings.Repeat("x", 9000)}
	for range 20 {
		frames = append(frames, "cont 1 more x-a="+strings.Repeat("%01", 3)+strings.Repeat("y", 9000)+" "+strings.Repeat("cookie= ", 1000))
	}
	w.feed(t, p.frames(append(frames, "cont 1 x-a=b")...))
	if cap(w.ws.text) > keepText || cap(w.ws.crumbs) > keepText/8 {
		t.Errorf("%d bytes of text, %d crumbs kept", cap(w.ws.text), cap(w.ws.crumbs))
	}
	w.ws.putBuffer(make([]byte, 0, keepBuffer+1))
	for _, b := range w.ws.buffers {
		if cap(b) > keepBuffer {
			t.Errorf("a buffer of %d bytes kept", cap(b))
		}
	}
}

// TestIdleConnectionsOwnNoBuffer: between requests everything is back in the workspace.
func TestIdleConnectionsOwnNoBuffer(t *testing.T) {
	x := newExchanger(3000)
	for range 10 {
		x.run(t)
	}
	for _, c := range []*Conn{&x.client.c, &x.server.c} {
		if c.out != nil || c.dec.Text != nil || c.block.bytes != nil {
			t.Error("an idle connection owns a buffer")
		}
	}
}
