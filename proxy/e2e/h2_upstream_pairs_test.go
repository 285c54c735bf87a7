package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// pairHandler echoes like bodyHandler, and answers /trailers with what the request's trailers were.
func pairHandler(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/1: else what is unread is lost with the first answer
	w.Header().Set("X-Proto", r.Proto)
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("X-TE", r.Header.Get("TE"))
	if r.URL.Path != "/trailers" {
		bodyHandler(w, r)
		return
	}
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = w.Write(b)
	w.(http.Flusher).Flush()
	w.Header().Set("Grpc-Status", "5")
	w.Header().Set("Grpc-Message", "sum "+r.Trailer.Get("X-Sum"))
}

// Any pair of versions carries the same messages through one stream (design 5).
func TestEveryPairOfVersions(t *testing.T) {
	for _, row := range []struct {
		down, up string
		protocol conf.UpstreamProtocol
	}{
		{"HTTP/1.1", "HTTP/1.1", conf.UpstreamHTTP1},
		{"HTTP/1.1", "HTTP/2.0", conf.UpstreamHTTP2},
		{"HTTP/2.0", "HTTP/1.1", conf.UpstreamHTTP1},
		{"HTTP/2.0", "HTTP/2.0", conf.UpstreamHTTP2},
		{"HTTP/1.1", "HTTP/1.1", conf.UpstreamSameAsDownstream},
		{"HTTP/2.0", "HTTP/2.0", conf.UpstreamSameAsDownstream},
	} {
		t.Run(fmt.Sprintf("%s to %s, %d", row.down, row.up, row.protocol), func(t *testing.T) {
			harness.NoLeaks(t)
			o := newPairOrigin(t)
			p := startH2Upstream(t, with(one(o), "http_protocol_options: { enable_trailers: true }"), func(c *conf.Cluster) {
				c.Protocol = row.protocol
				c.HTTP1.EnableTrailers = true
			}, func(m *conf.HTTPConnectionManager) { m.CodecType = conf.CodecAuto })
			client := h1Client(t, 4)
			if row.down == "HTTP/2.0" {
				client = clientH2(t)
			}
			url := "http://" + p.Addr
			for _, n := range []int{0, 1, 70000, 4 << 20} {
				sum := sha256.Sum256(filler(n))
				for _, length := range []int64{int64(n), -1} {
					req, _ := http.NewRequest(http.MethodPost, url+"/echo", io.NopCloser(bytes.NewReader(filler(n))))
					req.ContentLength, req.Host = length, "some.host:8080"
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					if resp.Proto != row.down || resp.Header.Get("X-Proto") != row.up || resp.Header.Get("X-Host") != "some.host:8080" {
						t.Errorf("%s, %v", resp.Proto, resp.Header)
					}
					if length > 0 && resp.ContentLength != length {
						t.Errorf("content-length is %d, want %d", resp.ContentLength, length)
					}
					checkBody(t, resp, n, sum)
				}
				resp, err := client.Get(fmt.Sprintf("%s/bytes/%d", url, n))
				if err != nil {
					t.Fatal(err)
				}
				checkBody(t, resp, n, sum)
			}
			req, _ := http.NewRequest(http.MethodPost, url+"/trailers", io.NopCloser(bytes.NewReader(filler(1000))))
			req.ContentLength = -1
			req.Trailer = http.Header{"X-Sum": {"7"}}
			req.Header.Set("TE", "trailers")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			checkBody(t, resp, 1000, sha256.Sum256(filler(1000)))
			if resp.Trailer.Get("Grpc-Status") != "5" || resp.Trailer.Get("Grpc-Message") != "sum 7" {
				t.Errorf("trailers %v", resp.Trailer)
			}
			if row.down == "HTTP/2.0" && resp.Header.Get("X-TE") != "trailers" {
				t.Errorf("te arrived as %q", resp.Header.Get("X-TE"))
			}
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					resp, err := client.Get(url + "/bytes/20000")
					if err != nil {
						t.Error(err)
						return
					}
					checkBody(t, resp, 20000, sha256.Sum256(filler(20000)))
				})
			}
			wg.Wait()
			p.WantStats(harness.Stats{"cluster.origin.upstream_rq_200": 113, "cluster.origin.upstream_rq_active": 0})
		})
	}
}

// pairOrigin is net/http's server, which tells both versions apart by what the client begins with.
type pairOrigin struct {
	ln     net.Listener
	server *http.Server
	done   chan struct{}
}

func newPairOrigin(t *testing.T) *pairOrigin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &pairOrigin{ln: ln, done: make(chan struct{}), server: &http.Server{Handler: http.HandlerFunc(pairHandler), Protocols: new(http.Protocols)}}
	o.server.Protocols.SetHTTP1(true)
	o.server.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		defer close(o.done)
		_ = o.server.Serve(ln)
	}()
	t.Cleanup(o.Stop)
	return o
}

func (o *pairOrigin) Address() string { return o.ln.Addr().String() }

func (o *pairOrigin) Stop() {
	_ = o.server.Close()
	<-o.done
}

// What an HTTP/2 request has brought leaves for an HTTP/1 origin at once, though the request is not whole:
// the client may be waiting for the answer to it.
func TestAnHTTP1OriginHearsOfAnHTTP2RequestAtOnce(t *testing.T) {
	harness.NoLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := startH2Upstream(t, one(harness.At(ln.Addr().String())), func(c *conf.Cluster) { c.Protocol = conf.UpstreamHTTP1 },
		func(m *conf.HTTPConnectionManager) { m.CodecType = conf.CodecAuto })
	w := dialH2(t, p)
	w.request(1, false, "POST", "/a")
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in) // the head
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5000)
	for range 2 {
		w.must(w.WriteData(1, false, filler(len(b))))
		if _, err := io.ReadFull(req.Body, b); err != nil || !bytes.Equal(b, filler(len(b))) {
			t.Fatalf("the chunk: %v", err)
		}
	}
	w.must(w.WriteData(1, true, filler(len(b))))
	if rest, err := io.ReadAll(req.Body); err != nil || len(rest) != len(b) {
		t.Fatalf("%d bytes and the end: %v", len(rest), err)
	}
	_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	w.want("head 1 204 end")
	w.Conn.Close()
	c.Close()
}
