package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// floodBytes writes the frames of a flood into memory, so that sending them costs next to nothing.
type floodBytes struct {
	bytes.Buffer
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
}

func newFloodBytes() *floodBytes {
	f := new(floodBytes)
	f.Framer = http2.NewFramer(&f.Buffer, nil)
	f.AllowIllegalWrites = true
	f.enc = hpack.NewEncoder(&f.block)
	f.WriteString(http2.ClientPreface)
	_ = f.WriteSettings()
	return f
}

// open begins a request; more are further "name", "value" pairs.
func (f *floodBytes) open(id uint32, method, path string, end bool, more ...string) {
	f.block.Reset()
	fields := append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "test"}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(headersH2(id, f.block.Bytes(), end))
}

// flood is one attack: what it sends, how often the repeated part, and what becomes of it.
type flood struct {
	title string
	begin func(f *floodBytes)
	again []byte // sent over and over, until the proxy ends the connection
	reads bool   // whether the client reads the answers
	code  http2.ErrCode
	stats harness.Stats
	log   string // the details in the access log of a request under way; "" when there is none
}

func frames(write func(f *http2.Framer)) []byte {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	write(f)
	return b.Bytes()
}

// repeat is n copies of what write writes.
func repeat(n int, write func(f *http2.Framer)) []byte { return bytes.Repeat(frames(write), n) }

func floods() []flood {
	return []flood{
		{
			title: "rapid reset of 100,000 streams", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			begin: func(f *floodBytes) {
				for i := range uint32(100_000) {
					f.open(2*i+1, "GET", "/slow", true)
					_ = f.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
				}
			},
			stats: harness.Stats{inHTTP + "downstream_rq_too_many_premature_resets": 1},
		},
		{
			title: "SETTINGS that are not acknowledged by reading", again: repeat(2000, func(f *http2.Framer) {
				_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
			}),
			stats: harness.Stats{"http2.outbound_control_flood": 1},
		},
		{
			title: "PINGs whose answers are not read", again: repeat(2000, func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{1}) }),
			stats: harness.Stats{"http2.outbound_control_flood": 1},
		},
		{
			// Of requests that are under way: the resets that a client provokes count like its own.
			title: "requests that the proxy is made to reset", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			begin: func(f *floodBytes) {
				for i := range uint32(100_000) {
					f.open(2*i+1, "GET", "/slow", true)
					_ = f.WriteData(2*i+1, false, []byte("a"))
				}
			},
			stats: harness.Stats{inHTTP + "downstream_rq_too_many_premature_resets": 1, "http2.tx_reset": 250},
		},
		{
			title: "empty DATA", reads: true, code: http2.ErrCodeEnhanceYourCalm, log: "http2.inbound_empty_frames_flood",
			begin: func(f *floodBytes) { f.open(1, "POST", "/slow", false) },
			again: repeat(2000, func(f *http2.Framer) { _ = f.WriteData(1, false, nil) }),
			stats: harness.Stats{"http2.inbound_empty_frames_flood": 1},
		},
		{
			title: "empty CONTINUATION", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			begin: func(f *floodBytes) {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			},
			again: repeat(2000, func(f *http2.Framer) { _ = f.WriteContinuation(1, false, nil) }),
			stats: harness.Stats{"http2.inbound_empty_frames_flood": 1},
		},
		{
			title: "a head that never ends", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			begin: func(f *floodBytes) {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			},
			// A literal field without indexing, "a: b", over and over.
			again: repeat(20, func(f *http2.Framer) {
				_ = f.WriteContinuation(1, false, bytes.Repeat([]byte{0x00, 1, 'a', 1, 'b'}, 3000))
			}),
			stats: harness.Stats{"http2.header_overflow": 1},
		},
		{
			title: "a head in pieces of one byte", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			begin: func(f *floodBytes) {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
			},
			again: repeat(2000, func(f *http2.Framer) { _ = f.WriteContinuation(1, false, []byte{0x86}) }),
			stats: harness.Stats{"http2.header_overflow": 1},
		},
		{
			title: "PRIORITY", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			again: repeat(2000, func(f *http2.Framer) { _ = f.WritePriority(3, http2.PriorityParam{}) }),
			stats: harness.Stats{"http2.inbound_priority_frames_flood": 1},
		},
		{
			title: "WINDOW_UPDATE", reads: true, code: http2.ErrCodeEnhanceYourCalm,
			again: repeat(2000, func(f *http2.Framer) { _ = f.WriteWindowUpdate(0, 1) }),
			stats: harness.Stats{"http2.inbound_window_update_frames_flood": 1},
		},
	}
}

// Floods end their connection, with the right error where the client reads it and the right counter;
// little memory is taken, and another client is served all the while (HC-77).
func TestH2FloodsEndTheirConnection(t *testing.T) {
	for _, row := range floods() {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top, stuck := slowTop(t)
			p := serveH2(t, top, func(m *conf.HTTPConnectionManager) {
				m.HeadersWithUnderscores, m.DelayedCloseTimeout = conf.UnderscoresReject, 200*time.Millisecond
			})
			f := newFloodBytes()
			if row.begin != nil {
				row.begin(f)
			}
			toll := takeToll(t, p)
			c, err := net.DialTimeout("tcp", p.Addr, harness.Patience)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.(*net.TCPConn).SetReadBuffer(4096)
			_ = c.SetDeadline(time.Now().Add(harness.Patience))
			code := make(chan http2.ErrCode, 1)
			if row.reads {
				go func() { code <- readGoAway(c) }()
			}
			sent, err := c.Write(f.Bytes())
			for err == nil && row.again != nil {
				n := 0
				n, err = c.Write(row.again)
				sent += n
			}
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("the flood goes on")
			}
			if row.reads {
				if got := <-code; got != row.code {
					t.Errorf("GOAWAY with %v, want %v", got, row.code)
				}
			}
			p.WantStats(row.stats)
			if row.log != "" {
				if line := "0 DPE " + row.log + " POST /slow"; !hasLine(p, line) {
					t.Errorf("no line %q", line)
				}
			}
			toll.settle(fmt.Sprintf("%d KiB of it", sent>>10))
			c.Close()
			stuck.read()
			p.WantStats(harness.Stats{"http2.streams_active": 0, inHTTP + "downstream_cx_active": 0, inHTTP + "downstream_cx_total": 2})
		})
	}
}

// hasLine waits for a line among those of the bystander.
func hasLine(p *harness.Proxy, want string) (found bool) {
	harness.Eventually(p.T, want, func() bool {
		for _, l := range p.Lines() {
			found = found || l == want
		}
		return found
	})
	return found
}

// readGoAway reads until the connection ends, and returns the last GOAWAY's code.
func readGoAway(c net.Conn) (code http2.ErrCode) {
	f := http2.NewFramer(io.Discard, c)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return code
		}
		if g, ok := frame.(*http2.GoAwayFrame); ok {
			code = g.ErrCode
		}
	}
}

// A client that gives no window holds its responses up, in bounded memory, until the stream's idle
// timeout; one that opens it gets all (HC-66, HC-75).
func TestH2ZeroWindow(t *testing.T) {
	harness.NoLeaks(t)
	const streams, size, limit = 50, 1 << 20, 64 << 10
	p := startSides(t, nil, overH2C, overH1, newHTTPOrigin(t, nil, overH1, acceptHandler), func(m *conf.HTTPConnectionManager, c *conf.Cluster) {
		m.StreamIdleTimeout, c.PerConnectionBufferLimitBytes = 4*time.Second, limit
	})
	before := memoryInUse()
	w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for i := range uint32(streams) {
		w.get(2*i+1, "/bytes/1048576")
	}
	p.WantStats(harness.Stats{inHTTP + "downstream_rq_active": streams, onOrigin + "upstream_rq_total": streams})
	harness.Eventually(t, "the origin's bodies to wait", func() bool { return p.Stat("http2.pending_send_bytes") > 0 })
	toll := takeToll(t, p)
	toll.before, toll.buffers = before, streams*3*limit
	toll.settle(fmt.Sprintf("%d streams of %d KiB without a window, %d KiB of them at the proxy,", streams, size>>10, p.Stat("http2.pending_send_bytes")>>10))
	// One stream gets its body. The windows are read by nobody else.
	w.must(w.WriteWindowUpdate(0, 2*size))
	w.must(w.WriteWindowUpdate(1, 2*size))
	got, resets := 0, 0
	for resets < streams-1 {
		w.deadline()
		f, err := w.ReadFrame()
		w.must(err)
		switch f := f.(type) {
		case *http2.DataFrame:
			if f.StreamID != 1 {
				t.Fatalf("data of stream %d without a window", f.StreamID)
			}
			got += len(f.Data())
			if f.StreamEnded() && resets > 0 {
				t.Error("the stream with a window waited for those without")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == 1 {
				t.Fatalf("the stream with a window was reset: %v", f.ErrCode)
			}
			resets++
		}
	}
	if got != size {
		t.Errorf("%d bytes through the window", got)
	}
	w.Conn.Close()
	p.WantStats(harness.Stats{inHTTP + "downstream_rq_idle_timeout": streams - 1, "http2.pending_send_bytes": 0, "http2.streams_active": 0})
}
