package tunnel

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TCP-45: tunnels are streams of one connection; the first of them waits until it is up.
func TestTunnelsShareAConnection(t *testing.T) {
	f := open(t, "")
	first := f.dial("origin")
	s := f.accept()
	<-first.opened
	if id := s.stream(); id != 1 {
		t.Errorf("stream %d", id)
	}
	second := f.dial("origin")
	<-second.opened
	if id := s.stream(); id != 3 {
		t.Errorf("stream %d", id)
	}
	s.answer(3, false)
	s.must(s.WriteData(3, true, []byte("two")))
	s.answer(1, true)
	f.until("both to have heard", func() bool { return first.heard.Len() > 0 && second.heard.String() == "head 200 false\nend\n" })
	f.on(func() {
		if got := first.heard.String() + second.data.String(); got != "head 200 true\ntwo" {
			t.Errorf("%q", got)
		}
		first.stream.Close()
		second.stream.Close()
	})
	f.wants(map[string]int64{"upstream_cx_total": 1, "http2.streams_active": 0, "upstream_cx_active": 1})
}

// A tunnel takes all it is given; what there is no window for waits, is counted, and goes when there is,
// with the end behind it.
func TestWriteBeyondTheWindow(t *testing.T) {
	f := open(t, "")
	x := f.dial("origin")
	s := f.accept()
	<-x.opened
	s.stream()
	sent := make([]byte, 100_000)
	for i := range sent {
		sent[i] = byte(i >> 4)
	}
	f.on(func() {
		if x.stream.Full() {
			t.Error("full before it began")
		}
		x.stream.Write(sent[:90_000], false)
		if !x.stream.Full() || x.stream.Pending() != 90_000-65535 {
			t.Errorf("%d wait", x.stream.Pending())
		}
		x.stream.Write(sent[90_000:], true)
	})
	f.wants(map[string]int64{"http2.pending_send_bytes": 100_000 - 65535})
	var got []byte
	for {
		if len(got) == 65535 { // in two steps
			s.must(s.WriteWindowUpdate(0, 1<<20))
			s.must(s.WriteWindowUpdate(1, 10_000))
		}
		if len(got) == 75_535 {
			s.must(s.WriteWindowUpdate(1, 1<<20))
		}
		d, ok := s.next(http2.FrameWindowUpdate).(*http2.DataFrame)
		if !ok {
			t.Fatal("no data")
		}
		if got = append(got, d.Data()...); d.StreamEnded() {
			break
		}
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d", len(got), len(sent))
	}
	f.until("room", func() bool { return x.rooms == 1 && x.stream.Pending() == 0 })
	f.wants(map[string]int64{"http2.pending_send_bytes": 0})
	f.on(func() { x.stream.Close() })
}

// The window of a stream is bounded, whatever the cluster says, and credited as its owner takes bytes.
func TestWindowIsCreditedByTheOwner(t *testing.T) {
	f := open(t, "initial_stream_window_size: 268435456")
	x := f.dial("origin")
	s := f.accept()
	<-x.opened
	window := uint32(0)
	for window == 0 {
		fr, err := s.ReadFrame()
		s.must(err)
		if set, ok := fr.(*http2.SettingsFrame); ok && !set.IsAck() {
			window, _ = set.Value(http2.SettingInitialWindowSize)
		}
	}
	if window != maxWindow {
		t.Fatalf("the window is %d", window)
	}
	s.stream()
	f.on(func() { x.keeps = true })
	s.answer(1, false)
	piece := make([]byte, 16<<10)
	for range maxWindow / len(piece) {
		s.must(s.WriteData(1, false, piece))
	}
	f.until("the window to be full", func() bool { return x.data.Len() == maxWindow })
	s.must(s.WritePing(false, [8]byte{1}))
	if fr, ok := s.next().(*http2.PingFrame); !ok || !fr.IsAck() { // and no WINDOW_UPDATE before it
		t.Fatalf("%v", fr)
	}
	f.on(func() { x.stream.Consumed(maxWindow) })
	if fr, ok := s.next().(*http2.WindowUpdateFrame); !ok || fr.StreamID != 1 || fr.Increment != maxWindow {
		t.Errorf("%v", fr)
	}
	f.on(func() { x.stream.Close() })
}

// Close resets a stream that is not over, drops what waits, and is the last its owner hears.
func TestCloseOfATunnel(t *testing.T) {
	f := open(t, "")
	x := f.dial("origin")
	s := f.accept()
	<-x.opened
	s.stream()
	f.on(func() {
		y := x.stream
		y.Write(make([]byte, 80_000), false)
		y.Close()
		y.Close()
		if y.Conn() != nil {
			t.Error("a closed stream has a connection")
		}
	})
	fr := s.next(http2.FrameData, http2.FrameWindowUpdate)
	if r, ok := fr.(*http2.RSTStreamFrame); !ok || r.StreamID != 1 || r.ErrCode != http2.ErrCodeCancel {
		t.Fatalf("%v", fr)
	}
	s.must(s.WriteWindowUpdate(1, 1000))
	s.must(s.WriteRSTStream(1, http2.ErrCodeCancel))
	s.must(s.WritePing(false, [8]byte{2}))
	s.next()
	f.on(func() {
		if x.heard.Len()+x.rooms > 0 {
			t.Errorf("after Close: %q, %d times room", x.heard.String(), x.rooms)
		}
	})
	f.wants(map[string]int64{"http2.streams_active": 0, "http2.pending_send_bytes": 0, "upstream_cx_active": 1})
}

// GOAWAY: tunnels below its number live on, those above come back refused, and new ones go elsewhere; the
// connection closes after its last.
func TestGoAway(t *testing.T) {
	f := open(t, "")
	first := f.dial("origin")
	s := f.accept(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 10})
	<-first.opened
	s.stream()
	second := f.tunnel("origin")
	s.stream()
	s.must(s.WriteGoAway(1, http2.ErrCodeNo, nil))
	f.until("the second to be refused", func() bool { return second.heard.Len() > 0 })
	third := f.dial("origin")
	other := f.accept()
	<-third.opened
	if id := other.stream(); id != 1 {
		t.Errorf("stream %d", id)
	}
	s.answer(1, false)
	s.must(s.WriteData(1, true, []byte("lives")))
	f.until("the first to go on", func() bool { return first.data.String() == "lives" })
	f.on(func() {
		if got := second.heard.String(); got == "" || second.stream != nil {
			t.Errorf("%q", got)
		}
		first.stream.Close()
	})
	if fr := s.next(http2.FrameWindowUpdate); fr == nil || fr.Header().Type != http2.FrameRSTStream {
		t.Errorf("%v", fr)
	}
	for fr := s.next(); fr != nil; fr = s.next() { // its GOAWAY, then the end
		if fr.Header().Type != http2.FrameGoAway {
			t.Errorf("%v", fr)
		}
	}
	f.wants(map[string]int64{"upstream_cx_active": 1, "upstream_cx_close_notify": 1, "http2.streams_active": 1})
	f.on(func() { third.stream.Close() })
}

// The end of a connection, by either error or FIN, resets each of its tunnels once.
func TestEndsOfAConnection(t *testing.T) {
	for name, end := range map[string]func(s *server){
		"FIN":         func(s *server) { _ = s.c.CloseWrite() },
		"reset":       func(s *server) { _ = s.c.SetLinger(0); _ = s.c.Close() },
		"not a frame": func(s *server) { _, _ = s.c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"an error":    func(s *server) { s.must(s.WriteData(7, false, []byte("of no stream"))) },
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, "")
			first := f.dial("origin")
			s := f.accept()
			<-first.opened
			s.stream()
			second := f.tunnel("origin")
			s.stream()
			f.on(func() { second.stream.Write(make([]byte, 70_000), true) })
			end(s)
			f.until("both to be reset", func() bool { return first.stream == nil && second.stream == nil })
			f.on(func() {
				for _, x := range []*session{first, second} {
					if got := x.heard.String(); strings.Count("\n"+got, "\nreset") != 1 {
						t.Errorf("%q", got)
					}
				}
			})
			f.wants(map[string]int64{"http2.streams_active": 0, "http2.pending_send_bytes": 0, "upstream_cx_active": 0})
			f.until("the memory to be back", func() bool { return f.w.Loop.Slabs().InUse() == 0 })
		})
	}
}

// A server that does not answer PINGs is given up; one that does is not.
func TestKeepAlive(t *testing.T) {
	f := open(t, "connection_keepalive: { interval: 0.02s, timeout: 0.5s }")
	x := f.dial("origin")
	s := f.accept()
	<-x.opened
	s.stream()
	for range 3 {
		p, ok := s.next(http2.FrameWindowUpdate).(*http2.PingFrame)
		if !ok || p.IsAck() {
			t.Fatalf("%v", p)
		}
		s.must(s.WritePing(true, p.Data))
	}
	f.on(func() {
		if x.stream == nil {
			t.Error("given up though it answers")
		}
	})
	f.until("the server to be given up", func() bool { return x.stream == nil })
	f.wants(map[string]int64{"http2.keepalive_timeout": 1, "upstream_cx_active": 0})
}

// What waits for the connection's window goes in turns: a tunnel with much to send does not hold up another.
func TestTunnelsTakeTurns(t *testing.T) {
	f := open(t, "")
	busy := f.dial("origin")
	s := f.accept(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	<-busy.opened
	s.stream()
	f.until("the settings", func() bool { return busy.stream.c.h2.PeerReady() })
	f.on(func() { busy.stream.Write(make([]byte, 500_000), false) })
	small := f.tunnel("origin")
	f.on(func() { small.stream.Write([]byte("small"), false) })
	for got := 0; got < 65535; {
		if d, ok := s.next(http2.FrameWindowUpdate, http2.FrameHeaders).(*http2.DataFrame); ok {
			got += len(d.Data())
		}
	}
	s.must(s.WriteWindowUpdate(0, 50_000))
	for id, passed := uint32(1), 0; id == 1; {
		d, ok := s.next(http2.FrameWindowUpdate, http2.FrameHeaders).(*http2.DataFrame)
		if !ok {
			t.Fatal("no data")
		}
		if id = d.StreamID; id == 3 {
			break
		}
		if passed += len(d.Data()); passed == 50_000 { // the busy one's turn is over
			s.must(s.WriteWindowUpdate(0, 50_000))
		}
		if passed > 60_000 {
			t.Fatalf("%d bytes before the small tunnel's", passed)
		}
	}
	f.on(func() { busy.stream.Close(); small.stream.Close() })
}
