package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// acceptHandler is what the origins of the pairs serve.
func acceptHandler(w http.ResponseWriter, r *http.Request) {
	what, arg, _ := strings.Cut(r.URL.Path[1:], "/")
	n, _ := strconv.Atoi(arg)
	h := w.Header()
	h.Set("X-Proto", r.Proto)
	switch what {
	case "bytes":
		h.Set("Content-Length", arg)
		_, _ = w.Write(filler(n))
	case "chunked":
		w.(http.Flusher).Flush()
		_, _ = w.Write(filler(n))
	case "status":
		w.WriteHeader(n)
	case "hints":
		h.Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		h.Set("Link", "</b.css>")
		w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
		_, _ = io.WriteString(w, "done")
	case "cookies":
		h.Add("Set-Cookie", "x=1; Path=/")
		h.Add("Set-Cookie", "y=2")
		_, _ = io.WriteString(w, strings.Join(r.Header.Values("Cookie"), "; "))
	case "header":
		h.Set("X-Large", r.Header.Get("X-Large"))
	default: // the request's body and trailers
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if r.ContentLength < 0 {
			h.Set("Trailer", "X-Sum")
			w.(http.Flusher).Flush()
			h.Set("X-Sum", r.Trailer.Get("X-Sum"))
		}
		_, _ = w.Write(b)
	}
}

var protoOf = map[wireKind]string{overH1: "HTTP/1.1", overH1TLS: "HTTP/1.1", overH2C: "HTTP/2.0", overH2TLS: "HTTP/2.0"}

// What the pairs of codecs must all be able to do (HC-13, HC-40, HC-45, HC-64, HC-71).
func TestEveryPairOfProtocols(t *testing.T) {
	harness.NoLeaks(t)
	a := harness.NewAuthority(t)
	sides(t, func(t *testing.T, down, up wireKind) {
		o := newHTTPOrigin(t, a, up, acceptHandler)
		p := startSides(t, a, down, up, o, nil)
		c, url := clientOf(t, a, p, down)
		ask := func(t *testing.T, method, path string, body io.Reader, fields ...string) *answerH2 {
			t.Helper()
			r := mustAskH2(t, c, method, url+path, body, fields...)
			if got := r.header.Get("X-Proto"); got != protoOf[up] || r.protocol != protoOf[down] {
				t.Errorf("%s at the client, %s at the origin", r.protocol, got)
			}
			return r
		}
		t.Run("GET", func(t *testing.T) {
			for _, size := range []int{0, 1, 16383, 16384, 16385, 65535, 65536, 1 << 20, 4 << 20} {
				for _, kind := range []string{"bytes", "chunked"} {
					r := ask(t, "GET", fmt.Sprintf("/%s/%d", kind, size), nil)
					if r.status != 200 || !bytes.Equal(r.body, filler(size)) {
						t.Errorf("%s %d: %d with %d bytes", kind, size, r.status, len(r.body))
					}
				}
			}
		})
		t.Run("POST", func(t *testing.T) {
			for _, size := range []int{0, 1, 16383, 16384, 16385, 65535, 65536, 1 << 20, 4 << 20} {
				r := ask(t, "POST", "/echo", bytes.NewReader(filler(size)))
				if r.status != 200 || !bytes.Equal(r.body, filler(size)) {
					t.Errorf("%d: %d with %d bytes", size, r.status, len(r.body))
				}
			}
		})
		t.Run("trailers", func(t *testing.T) { echoTrailers(t, c, url) })
		t.Run("responses without a body", func(t *testing.T) {
			for _, row := range []struct {
				method, path, length string
				status               int
			}{
				{"HEAD", "/bytes/1234", "1234", 200},
				{"GET", "/status/204", "", 204},
				{"GET", "/status/304", "", 304},
				{"GET", "/status/500", "0", 500},
			} {
				r := ask(t, row.method, row.path, nil)
				if r.status != row.status || len(r.body) != 0 || r.header.Get("Content-Length") != row.length {
					t.Errorf("%s %s: %d, content-length %q, %q", row.method, row.path, r.status, r.header.Get("Content-Length"), r.body)
				}
			}
		})
		t.Run("103", func(t *testing.T) { wantHints(t, c, url) })
		t.Run("cookies in several fields", func(t *testing.T) { // HC-68
			r := ask(t, "GET", "/cookies", nil, "Cookie: a=1", "Cookie: b=2; c=3")
			if string(r.body) != "a=1; b=2; c=3" || strings.Join(r.header.Values("Set-Cookie"), "|") != "x=1; Path=/|y=2" {
				t.Errorf("%q, set-cookie %q", r.body, r.header.Values("Set-Cookie"))
			}
		})
		t.Run("a large field", func(t *testing.T) {
			for _, size := range []int{5000, 17000, 50000} {
				large := string(filler(size))
				if r := ask(t, "GET", "/header", nil, "X-Large: "+large); r.header.Get("X-Large") != large {
					t.Errorf("%d: %d came back", size, len(r.header.Get("X-Large")))
				}
			}
		})
		c.CloseIdleConnections()
		want := harness.Stats{inHTTP + "downstream_cx_protocol_error": 0, onOrigin + "upstream_cx_protocol_error": 0, inHTTP + "downstream_rq_rx_reset": 0, onOrigin + "upstream_rq_tx_reset": 0}
		if down.http2() {
			want[inHTTP+"downstream_cx_http2_total"] = 1
		}
		if up.http2() {
			want[onOrigin+"upstream_cx_http2_total"] = 1
		}
		p.WantStats(want)
	})
}

// echoTrailers has bodies and the trailers after them echoed.
func echoTrailers(t *testing.T, c *http.Client, url string) {
	t.Helper()
	for _, size := range []int{0, 10, 1 << 20} {
		req, err := http.NewRequestWithContext(context.Background(), "POST", url+"/echo", io.NopCloser(bytes.NewReader(filler(size))))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength, req.Trailer = -1, http.Header{"X-Sum": {"abc"}}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(b, filler(size)) || resp.Trailer.Get("X-Sum") != "abc" {
			t.Errorf("%d: %d bytes, trailers %v, %v", size, len(b), resp.Trailer, err)
		}
	}
}

// wantHints asks for what has two interim responses.
func wantHints(t *testing.T, c *http.Client, url string) {
	t.Helper()
	var links []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		links = append(links, fmt.Sprint(code, h.Get("Link")))
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/hints", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(b) != "done" || strings.Join(links, " ") != "103</a.css> 103</b.css>" {
		t.Errorf("%q after %q, %v", b, links, err)
	}
}
