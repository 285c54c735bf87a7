package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

const inH2 = "http.in."

// Go's client by prior knowledge, codec_type AUTO and HTTP2.
func TestH2Requests(t *testing.T) { // HC-60
	for _, codec := range []conf.CodecType{conf.CodecAuto, conf.CodecHTTP2} {
		t.Run(fmt.Sprint("codec_type ", codec), func(t *testing.T) {
			harness.NoLeaks(t)
			top := one(harness.NewOrigin(t, "a"))
			top.LogFormat = "%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%"
			p := serveH2(t, top, func(m *conf.HTTPConnectionManager) { m.CodecType = codec })
			c, url := clientH2(t), "http://"+p.Addr
			upload := bench.Pattern(nil, 300_000)
			for _, row := range []struct {
				method, path string
				body         []byte
				status       int
				want         string
			}{
				{"GET", "/", nil, 200, "hello from a\n"},
				{"HEAD", "/bytes/1000", nil, 200, ""},
				{"GET", "/bytes/100000", nil, 200, string(bench.Pattern(nil, 100_000))},
				{"GET", "/chunked/100000", nil, 200, string(bench.Pattern(nil, 100_000))},
				{"POST", "/echo", upload, 200, string(upload)},
				{"POST", "/drain", upload, 200, fmt.Sprintf("%d %08x\n", len(upload), patternSum(int64(len(upload))))},
				{"GET", "/status/204", nil, 204, ""},
				{"GET", "/status/503", nil, 503, "status 503\n"},
				{"OPTIONS", "/", nil, 200, "hello from a\n"},
			} {
				a := mustAskH2(t, c, row.method, url+row.path, bytes.NewReader(row.body))
				if a.status != row.status || string(a.body) != row.want || a.protocol != "HTTP/2.0" {
					t.Errorf("%s %s: %d %s %s, want %d", row.method, row.path, a.status, a.protocol, shortH2(a.body), row.status)
				}
				if a.header.Get("connection") != "" || a.header.Get("transfer-encoding") != "" {
					t.Errorf("%s %s: fields of an HTTP/1 connection: %v", row.method, row.path, a.header)
				}
			}
			if n := mustAskH2(t, c, "HEAD", url+"/bytes/77", nil).header.Get("content-length"); n != "77" {
				t.Errorf("content-length of a HEAD response is %q", n)
			}
			c.CloseIdleConnections()
			p.WantStats(harness.Stats{
				inH2 + "downstream_cx_total": 1, inH2 + "downstream_cx_http2_total": 1, inH2 + "downstream_cx_http1_total": 0,
				inH2 + "downstream_rq_total": 10, inH2 + "downstream_rq_http2_total": 10, inH2 + "downstream_rq_http1_total": 0,
				inH2 + "downstream_rq_active": 0, "http2.streams_active": 0, "http2.pending_send_bytes": 0, "http2.deferred_stream_close": 0,
				inH2 + "downstream_cx_http2_active": 0, inH2 + "downstream_cx_destroy_remote": 1, inH2 + "downstream_cx_protocol_error": 0,
			})
			lines := p.AwaitLines(10)
			if lines[4] != "HTTP/2 POST /echo 200 - via_upstream 300000 300000" || lines[0] != "HTTP/2 GET / 200 - via_upstream 0 13" {
				t.Errorf("the access log is %s", strings.Join(lines, "\n"))
			}
		})
	}
}

// The first bytes decide, as early as they can (HC-95).
func TestCodecByTheFirstBytes(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Manager = "http_protocol_options: { allow_custom_methods: true }"
	p := serveH2(t, top, nil)
	for _, row := range []struct{ title, first, rest, want string }{
		{"GET", "G", "ET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"},
		{"a method that begins like the preface", "PRI", "NT / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"},
		{"the preface's method in HTTP/1", "PRI * HTTP/", "1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		{"an empty line first", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK"},
	} {
		t.Run(row.title, func(t *testing.T) {
			w := harness.DialWire(t, "tcp", p.Addr)
			w.Send(row.first)
			harness.Eventually(t, "the first bytes have come", func() bool { return p.Stat(inH2+"downstream_cx_active") == 1 })
			if n := p.Stat(inH2 + "downstream_rq_active"); n != 0 {
				t.Errorf("%d requests after %q", n, row.first)
			}
			w.Send(row.rest)
			if m := w.Read(); m.Start != row.want {
				t.Errorf("got %s", m.Start)
			}
			w.Close()
			harness.Eventually(t, "the connection is gone", func() bool { return p.Stat(inH2+"downstream_cx_active") == 0 })
		})
	}
	t.Run("the preface byte by byte", func(t *testing.T) {
		c := harness.DialWire(t, "tcp", p.Addr)
		for _, b := range []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") {
			c.Send(string(b))
		}
		head := make([]byte, 9)
		if _, err := c.In.Read(head); err != nil || head[3] != 4 {
			t.Errorf("no SETTINGS but %x, %v", head, err)
		}
		c.Close()
	})
	t.Run("a broken preface", func(t *testing.T) {
		c := harness.DialWire(t, "tcp", p.Addr)
		before := p.Stat(inH2 + "downstream_cx_protocol_error")
		c.Send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
		harness.Eventually(t, "the error is counted", func() bool { return p.Stat(inH2+"downstream_cx_protocol_error") == before+1 })
		c.Close()
	})
	p.WantStats(harness.Stats{inH2 + "downstream_cx_http1_total": 4, inH2 + "downstream_cx_http2_total": 2})
}

// What the origin gets is HTTP/1 of the same meaning.
func TestH2RequestsBecomeHTTP1(t *testing.T) { // HC-63, HC-65, HC-39
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		return "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok"
	})
	top := one(o)
	top.Manager = "use_remote_address: false"
	p := serveH2(t, top, nil)
	w := dialH2(t, p)
	for i, row := range []struct {
		title    string
		end      bool
		method   string
		words    []string
		data     string
		start    string
		with     map[string]string
		body     string
		informed bool
	}{
		{title: "a plain request", end: true, method: "GET", words: []string{"x-a=b", "te=trailers"}, start: "GET /p?q HTTP/1.1",
			with: map[string]string{"host": "test", "x-a": "b", "te": "trailers", "connection": "te", "x-forwarded-proto": "http", "content-length": "-", "transfer-encoding": "-"}},
		{title: "cookies", end: true, method: "GET", words: []string{"cookie=a=1", "cookie=b=2"}, start: "GET /p?q HTTP/1.1", with: map[string]string{"cookie": "a=1; b=2"}},
		{title: "a body of known length", method: "POST", words: []string{"content-length=5"}, data: "hello", start: "POST /p?q HTTP/1.1",
			with: map[string]string{"content-length": "5", "transfer-encoding": "-"}, body: "hello"},
		{title: "a body of unknown length", method: "POST", data: "hello", start: "POST /p?q HTTP/1.1",
			with: map[string]string{"content-length": "-", "transfer-encoding": "chunked"}, body: "hello"},
		{title: "an empty body", end: true, method: "POST", start: "POST /p?q HTTP/1.1", with: map[string]string{"content-length": "0"}},
		{title: "an empty body that is announced", method: "POST", words: []string{"content-length=0"}, start: "POST /p?q HTTP/1.1", with: map[string]string{"content-length": "0"}},
		{title: "an expectation", method: "POST", words: []string{"expect=100-continue", "content-length=2"}, data: "ab", start: "POST /p?q HTTP/1.1",
			with: map[string]string{"expect": "-"}, body: "ab", informed: true},
	} {
		t.Run(row.title, func(t *testing.T) {
			id := uint32(2*i + 1)
			w.t = t
			w.request(id, row.end, row.method, "/p?q", row.words...)
			if row.informed {
				w.want(fmt.Sprintf("head %d 100", id))
			}
			if !row.end {
				w.must(w.WriteData(id, true, []byte(row.data)))
			}
			w.want(fmt.Sprintf("head %d 200 content-length=2 x-end=1", id), fmt.Sprintf("data %d \"ok\" end", id))
			m := o.Last(t)
			if m.Start != row.start || string(m.Body) != row.body {
				t.Errorf("the origin got %s with body %q", m.Start, m.Body)
			}
			for name, want := range row.with {
				if got := m.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
	w.Conn.Close()
}

// Requests the proxy answers by itself do not end the connection.
func TestH2LocalReplies(t *testing.T) { // RT-131
	harness.NoLeaks(t)
	top := harness.Topology{Routes: "- " + direct("path: /direct", "body") + "\n- match: { path: /up }\n  route: { cluster: origin }"}
	p := serveH2(t, top, nil)
	w := dialH2(t, p)
	w.get(1, "/direct")
	w.want("head 1 200 content-length=4", `data 1 "body" end`)
	w.get(3, "/nowhere")
	w.want("head 3 404 end")
	w.get(5, "/up", "content-type=application/grpc")
	w.want("head 5 200 grpc-status=14 grpc-message=no healthy upstream end")
	w.get(7, "/nowhere", "content-type=application/grpc")
	w.want("head 7 200 grpc-status=12 end")
	w.request(9, true, "HEAD", "/direct")
	w.want("head 9 200 content-length=4 end")
	w.must(w.WriteHeaders(headersH2(11, w.block(":method=CONNECT", ":authority=a:1"), false)))
	w.want("head 11 403 end", "reset 11 NO_ERROR")
	w.must(w.WriteHeaders(headersH2(13, w.block(":method=GET", ":scheme=http", ":path=/direct"), true)))
	w.want("head 13 400 end") // no authority
	w.request(15, false, "POST", "/direct")
	w.want("head 15 200 content-length=4", `data 15 "body" end`, "reset 15 NO_ERROR") // HC-72
	w.get(17, "/direct")
	w.want("head 17 200 content-length=4", `data 17 "body" end`)
	w.Conn.Close()
	p.WantStats(harness.Stats{inH2 + "downstream_cx_total": 1, inH2 + "downstream_rq_total": 9, inH2 + "downstream_rq_completed": 9})
}

// Trailers and interim responses pass between HTTP/2 and HTTP/1 where that enables them.
func TestH2TrailersAndInterimResponses(t *testing.T) { // HC-71, HC-40
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		return "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\n\r\n"
	})
	top := one(o)
	top.Clusters[0].Fields = "http_protocol_options: { enable_trailers: true }"
	p := serveH2(t, top, nil)
	w := dialH2(t, p)
	w.request(1, false, "POST", "/")
	w.must(w.WriteData(1, false, []byte("ab")))
	w.must(w.WriteHeaders(headersH2(1, w.block("x-check=2"), true)))
	w.want("head 1 103 link=</a>", "head 1 200", `data 1 "ok"`, "head 1 x-sum=1 end")
	w.Conn.Close()
	m := o.Last(t)
	if string(m.Body) != "ab" || len(m.Trailers) != 1 || m.Trailers[0] != (harness.Field{Name: "x-check", Value: "2"}) {
		t.Errorf("the origin got %q with trailers %v", m.Body, m.Trailers)
	}
}

// Trailers stay behind the data that waits for the client's window, though the stream is logged and over.
func TestH2TrailersWaitForTheWindow(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRecorder(t, func(m *harness.Message) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
	})
	top := one(o)
	top.Clusters[0].Fields = "http_protocol_options: { enable_trailers: true }"
	top.LogFormat = "%RESPONSE_CODE% %BYTES_SENT% %TRAILER(X-SUM)%"
	p := serveH2(t, top, nil)
	w := dialH2(t, p, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4})
	for id := uint32(1); id < 6; id += 2 { // the second and third with the objects of the first
		w.get(id, "/")
		w.want(fmt.Sprintf("head %d 200", id), fmt.Sprintf(`data %d "0123"`, id))
		harness.Eventually(t, "the stream is over", func() bool { return p.Stat("http2.deferred_stream_close") == 1 })
		w.must(w.WriteWindowUpdate(id, 5))
		w.want(fmt.Sprintf(`data %d "45678"`, id))
		w.must(w.WriteWindowUpdate(id, 5))
		w.want(fmt.Sprintf(`data %d "9"`, id), fmt.Sprintf("head %d x-sum=1 end", id))
	}
	w.Conn.Close()
	p.WantLines("200 10 1", "200 10 1", "200 10 1")
}

// Upgrades by extended CONNECT are refused as HTTP/1's are, also where HTTP/2 offers them (UP-35).
func TestH2ExtendedConnectWithoutUpgrade(t *testing.T) {
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), func(m *conf.HTTPConnectionManager) { m.HTTP2.AllowConnect = true })
	w := dialH2(t, p)
	w.must(w.WriteHeaders(headersH2(1, w.block(":method=CONNECT", ":protocol=websocket", ":scheme=http", ":path=/", ":authority=a"), false)))
	w.want("head 1 403 end", "reset 1 NO_ERROR")
	w.get(3, "/")
	w.wantHello(3)
	w.Conn.Close()
	p.WantStats(harness.Stats{inH2 + "downstream_rq_ws_on_non_ws_route": 1})
}

func TestH2ByCurl(t *testing.T) {
	curl := harness.Tool(t, "curl")
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), nil)
	url := "http://" + p.Addr
	// One request each: curl 7.88 cannot use such a connection again.
	for path, want := range map[string]string{"/": "2 200 13", "/bytes/100000": "2 200 100000", "/status/204": "2 204 0"} {
		got := harness.Run(t, curl, "-sS", "--noproxy", "", "--max-time", "30", "--http2-prior-knowledge", url+path, "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}")
		if got != want {
			t.Errorf("curl printed %q for %s, want %q", got, path, want)
		}
	}
	got := harness.Run(t, curl, "-sS", "--noproxy", "", "--max-time", "30", "--http2", url+"/", "-w", "%{http_version}") // no h2c upgrade (UP-1)
	if want := "hello from a\n1.1"; got != want {
		t.Errorf("curl printed %q, want %q", got, want)
	}
}

func TestH2ByNghttp(t *testing.T) {
	nghttp := harness.Tool(t, "nghttp")
	harness.NoLeaks(t)
	p := serveH2(t, one(harness.NewOrigin(t, "a")), nil)
	got := harness.Run(t, nghttp, "-v", "http://"+p.Addr+"/bytes/100000", "http://"+p.Addr+"/")
	if strings.Count(got, ":status: 200") != 2 || strings.Contains(got, "INVALID") || strings.Contains(got, "RST_STREAM") {
		t.Errorf("nghttp printed %s", got)
	}
}

func TestH2ByH2load(t *testing.T) {
	h2load := harness.Tool(t, "h2load")
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Loops = 2
	p := serveH2(t, top, nil)
	const requests = 4000
	for _, args := range [][]string{{"-c", "4", "-m", "16"}, {"-c", "1", "-m", "500", "-w", "16", "-W", "16"}} {
		got := harness.Run(t, h2load, append(args, "-n", fmt.Sprint(requests), "http://"+p.Addr+"/bytes/3000")...)
		if !strings.Contains(got, fmt.Sprintf("%d succeeded, 0 failed, 0 errored", requests)) || !strings.Contains(got, fmt.Sprintf("status codes: %d 2xx", requests)) {
			t.Errorf("h2load printed %s", got)
		}
	}
	p.WantStats(harness.Stats{inH2 + "downstream_rq_2xx": 2 * requests, inH2 + "downstream_rq_rx_reset": 0, inH2 + "downstream_rq_tx_reset": 0})
}
