//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// Malformed messages end the connection, or only their stream when that is asked for (HC-62, HC-63,
// HC-64, HC-78).
func TestH2MalformedRequests(t *testing.T) {
	get := []string{":method=GET", ":scheme=http", ":path=/", ":authority=a"}
	with := func(more ...string) []string { return append(append([]string(nil), get...), more...) }
	for _, row := range []struct {
		title string
		words []string
		line  string
		one   bool // ends its stream in any case
		code  string
	}{
		{title: "no path", words: []string{":method=GET", ":scheme=http", ":authority=a"}, line: "0 DPE http2.violation.of.messaging.rule GET -"},
		{title: "a connection field", words: with("connection=close"), line: "0 DPE http2.invalid.header.field GET /"},
		{title: "upper case", words: with("X-A=b"), line: "0 DPE http2.invalid.header.field GET /"},
		{title: "an underscore under REJECT_REQUEST", words: with("x_a=b"), line: "0 DPE http2.unexpected_underscore GET /", one: true},
		{title: "too many fields", words: with(strings.Split(strings.Repeat("x-a=b ", 99), " ")[:99]...), line: "0 DPE http2.too_many_headers GET /", one: true, code: "ENHANCE_YOUR_CALM"},
		{title: "too large a head", words: with("x-a=" + strings.Repeat("x", 3000)), line: "0 DPE http2.headers_too_large GET /", one: true, code: "ENHANCE_YOUR_CALM"},
		{title: "extended CONNECT that is not offered", words: []string{":method=CONNECT", ":protocol=websocket", ":scheme=http", ":path=/", ":authority=a"}, line: "0 DPE http2.violation.of.messaging.rule CONNECT /", one: true},
	} {
		for _, tolerant := range []bool{false, true} {
			title := row.title
			if tolerant {
				title += ", tolerated"
			}
			t.Run(title, func(t *testing.T) {
				harness.NoLeaks(t)
				p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) {
					m.HTTP2.StreamErrorOnInvalidMessage = tolerant
					m.HeadersWithUnderscores, m.MaxRequestHeadersKiB = conf.UnderscoresReject, 2
				})
				w := dialH2(t, p)
				w.must(w.WriteHeaders(headersH2(1, w.block(row.words...), true)))
				code := row.code
				if code == "" {
					code = "PROTOCOL_ERROR"
				}
				if row.one || tolerant {
					w.want("reset 1 " + code)
					w.get(3, "/")
					w.wantHello(3)
					w.Conn.Close()
					p.WantLines(row.line, "200 - via_upstream GET /")
					p.WantStats(harness.Stats{inH2 + "downstream_cx_protocol_error": 0})
					return
				}
				w.want("goaway 1 "+code, "end")
				w.Conn.Close()
				p.WantLines(row.line)
				p.WantStats(harness.Stats{inH2 + "downstream_cx_protocol_error": 1, inH2 + "downstream_rq_rx_reset": 1, "http2.rx_messaging_error": 1})
			})
		}
	}
}

// An error of the connection ends its streams too, with a GOAWAY that says why.
func TestH2ConnectionErrors(t *testing.T) {
	for _, row := range []struct {
		title  string
		do     func(w *h2Wire)
		code   string
		detail string
		stats  harness.Stats
	}{
		{
			"DATA beyond content-length", func(w *h2Wire) {
				w.request(3, false, "POST", "/", "content-length=1")
				w.must(w.WriteData(3, true, []byte("ab")))
			}, "reset 3 PROTOCOL_ERROR", "", nil,
		},
		{"DATA on stream 0", func(w *h2Wire) { w.must(w.WriteRawFrame(http2.FrameData, 0, 0, []byte("a"))) }, "goaway 1 PROTOCOL_ERROR", "http2.protocol_error", harness.Stats{inH2 + "downstream_cx_protocol_error": 1}},
		{"a field block that cannot be decoded", func(w *h2Wire) { w.must(w.WriteRawFrame(http2.FrameHeaders, 4, 3, []byte{0xff, 0xff, 0xff})) }, "goaway 3 COMPRESSION_ERROR", "http2.protocol_error", harness.Stats{inH2 + "downstream_rq_total": 2}},
		{"empty frames", func(w *h2Wire) {
			w.request(3, false, "POST", "/drain")
			w.must(w.WriteData(3, false, nil))
			w.must(w.WriteData(3, false, nil))
		}, "goaway 3 ENHANCE_YOUR_CALM", "http2.inbound_empty_frames_flood", harness.Stats{inH2 + "downstream_cx_protocol_error": 0, "http2.inbound_empty_frames_flood": 1}},
		{"PRIORITY frames", func(w *h2Wire) {
			for range 201 {
				w.must(w.WritePriority(5, http2.PriorityParam{}))
			}
		}, "goaway 1 ENHANCE_YOUR_CALM", "http2.inbound_priority_frames_flood", harness.Stats{"http2.inbound_priority_frames_flood": 1}},
		{"rapid resets", func(w *h2Wire) {
			for id := uint32(3); id < 503; id += 2 {
				w.get(id, "/slow")
				w.must(w.WriteRSTStream(id, http2.ErrCodeCancel))
			}
		}, "goaway 501 ENHANCE_YOUR_CALM", "http2.too_many_premature_resets", harness.Stats{inH2 + "downstream_rq_too_many_premature_resets": 1, inH2 + "downstream_rq_rx_reset": 251}},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			top, stuck := slowTop(t)
			p := serveH2(t, top, nil)
			w := dialH2(t, p)
			w.get(1, "/slow")
			row.do(w)
			w.want(row.code)
			if row.detail != "" {
				w.want("end")
				lines := p.AwaitLines(1)
				found := false
				for _, l := range lines {
					found = found || l == "0 DPE "+row.detail+" GET /slow"
				}
				if !found {
					t.Errorf("no line with %s among %q", row.detail, lines)
				}
			}
			w.Conn.Close()
			p.WantStats(row.stats)
			stuck.read()
		})
	}
}

// A client that asks for answers and does not read them is cut off when too many wait.
func TestH2PingFlood(t *testing.T) {
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { m.HTTP2.MaxOutboundControlFrames = 100 })
	w := dialH2(t, p)
	w.must(w.Conn.SetReadBuffer(4096))
	pings := []byte(strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", 2000))
	harness.Eventually(t, "the flood is noticed", func() bool {
		w.deadline()
		_, err := w.Conn.Write(pings)
		return err != nil || p.Stat("http2.outbound_control_flood") == 1
	})
	p.WantStats(harness.Stats{"http2.outbound_control_flood": 1})
	if n := p.Buffered(); n > 1<<20 {
		t.Errorf("%d bytes are buffered", n)
	}
	w.Conn.Close()
}
