package tunnel

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script is what a server may send, as bytes.
func script(write func(w *http2.Framer, block func(words ...string) []byte)) []byte {
	var out, text bytes.Buffer
	enc := hpack.NewEncoder(&text)
	write(http2.NewFramer(&out, nil), func(words ...string) []byte {
		text.Reset()
		for i := 0; i < len(words); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: words[i], Value: words[i+1]})
		}
		return text.Bytes()
	})
	return out.Bytes()
}

// Whatever a server sends, and in whatever pieces it comes: every tunnel of the connection hears the same, of
// its end once at most and of nothing after that, and nothing is left of them.
func FuzzServer(f *testing.F) {
	head := func(w *http2.Framer, id uint32, end bool, block []byte) {
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end})
	}
	for _, seed := range [][]byte{
		script(func(w *http2.Framer, block func(...string) []byte) {
			head(w, 1, false, block(":status", "200"))
			_ = w.WriteData(1, false, []byte("bytes"))
			_ = w.WriteWindowUpdate(0, 100_000)
			_ = w.WriteWindowUpdate(1, 100_000)
			_ = w.WriteDataPadded(1, true, []byte("more"), make([]byte, 9))
			head(w, 3, true, block(":status", "503", "x", "y"))
		}),
		script(func(w *http2.Framer, block func(...string) []byte) {
			head(w, 3, false, block(":status", "100"))
			head(w, 3, false, block(":status", "200"))
			_ = w.WriteRSTStream(1, http2.ErrCodeRefusedStream)
			head(w, 3, true, block("trailer", "yes"))
			_ = w.WriteGoAway(1, http2.ErrCodeNo, nil)
		}),
		script(func(w *http2.Framer, _ func(...string) []byte) {
			_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
			_ = w.WritePing(false, [8]byte{1})
			_ = w.WriteGoAway(3, http2.ErrCodeNo, nil)
			_ = w.WriteGoAway(5, http2.ErrCodeNo, nil)
			_ = w.WriteData(1, false, []byte("before the head"))
		}),
		[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	} {
		f.Add(seed, byte(7))
	}
	hello := script(func(w *http2.Framer, _ func(...string) []byte) {
		_ = w.WriteSettings()
		_ = w.WriteSettingsAck()
	})
	shared := open(f, "", "pieces")
	f.Fuzz(func(t *testing.T, data []byte, piece byte) {
		own := *shared
		x := &own
		x.t = t
		whole := heardFrom(t, x, "origin", hello, data, max(1, len(data)))
		if pieces := heardFrom(t, x, "pieces", hello, data, int(piece)+1); pieces != whole {
			t.Errorf("at once:\n%s\nin pieces:\n%s", whole, pieces)
		}
		if n := x.stat("http2.streams_active") + x.stat("http2.pending_send_bytes"); n != 0 {
			t.Errorf("%d streams and bytes are left", n)
		}
		x.until("the memory to be back", func() bool { return x.w.Loop.Slabs().InUse() == 0 })
	})
}

// heardFrom opens two tunnels of a cluster on a connection of their own, which begins with hello, has it get
// data in pieces, and returns what their owners heard.
func heardFrom(t *testing.T, x *fixture, cluster string, hello, data []byte, piece int) string {
	first := x.dial(cluster)
	peer := <-x.conns
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer peer.Close()
		_, _ = io.Copy(io.Discard, peer)
	}()
	<-first.opened
	if _, err := peer.Write(hello); err != nil { // without it there is room for one
		t.Fatal(err)
	}
	both := []*session{first, x.tunnel(cluster)}
	x.on(func() {
		c := both[0].stream.c
		for _, s := range both {
			s.stream.Write(make([]byte, 40_000), false) // more than the connection takes together
		}
		var kept []byte
		for rest := data; len(rest) > 0; {
			n := min(piece, len(rest))
			kept, rest = append(kept, rest[:n]...), rest[n:]
			used := c.OnData(nil, kept)
			kept = kept[used:]
		}
		for _, s := range both {
			if s.stream != nil {
				s.stream.Close()
			}
		}
		c.abandon()
	})
	<-drained
	var out string
	x.on(func() {
		for _, s := range both {
			heard := "\n" + s.heard.String()
			if at := strings.Index(heard, "\nreset"); at >= 0 && strings.Count(heard[at:], "\n") != 2 {
				t.Errorf("after its reset a tunnel heard %q", heard)
			}
			out += fmt.Sprintf("%s%q\n", s.heard.String(), s.data.String())
		}
	})
	return out
}
