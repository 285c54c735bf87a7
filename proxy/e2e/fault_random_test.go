package e2e

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// randomSeconds is how long TestRandomBytes runs: SLUICE_RANDOM_SECONDS, else 3.
func randomSeconds() time.Duration {
	if n, err := strconv.ParseFloat(os.Getenv("SLUICE_RANDOM_SECONDS"), 64); err == nil && n > 0 {
		return time.Duration(n * float64(time.Second))
	}
	return 3 * time.Second
}

// seeds are requests that randomness begins with: whole ones, so that mutations reach deep.
var seeds = []string{
	"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
	"GET /bytes/100000 HTTP/1.1\r\nHost: test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
	"GET /chunked/100000 HTTP/1.1\r\nHost: test\r\nX-A: b\r\n\r\n",
	"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n0123456789",
	"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
	"PUT /drain HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
	"POST /drain HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 50000\r\n\r\n",
	"HEAD /bytes/5 HTTP/1.1\r\nHost: test\r\n\r\n",
	"GET http://test/ HTTP/1.1\r\nHost: other\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
	"CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET /reset HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"GET /close HTTP/1.1\r\nHost: test\r\nCookie: a=b\r\nConnection: close, x-a\r\nX-A: 1\r\n\r\n",
}

var splices = []string{
	"\r\n", "\n", "\r", "\x00", ":", " ", "\t", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Host: b\r\n", "HTTP/1.1", "0\r\n\r\n", "ffffffffffffffff\r\n",
	"Connection: close\r\n", "Content-Length: 18446744073709551616\r\n", "%2F..%00", "\xff\xfe", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}

// mutant returns random bytes, a changed request, or several.
func mutant(r *rand.Rand) []byte {
	var b []byte
	if r.IntN(8) == 0 {
		b = make([]byte, r.IntN(2000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for range 1 + r.IntN(4) {
		b = append(b, seeds[r.IntN(len(seeds))]...)
	}
	for range r.IntN(4) {
		at := r.IntN(len(b) + 1)
		switch r.IntN(5) {
		case 0: // a byte changes
			if at < len(b) {
				b[at] = byte(r.Uint32())
			}
		case 1: // some vanish
			b = append(b[:at:at], b[min(len(b), at+1+r.IntN(10)):]...)
		case 2: // something is put in
			b = append(append(b[:at:at], splices[r.IntN(len(splices))]...), b[at:]...)
		case 3: // the rest is missing
			b = b[:at]
		case 4: // a part comes again
			b = append(b, b[at:]...)
		}
		if len(b) == 0 {
			break
		}
	}
	return b
}

// attack opens one connection, sends mutants in random pieces, and leaves in some way.
func attack(r *rand.Rand, addr string) {
	conn, err := net.DialTimeout("tcp", addr, harness.Patience)
	if err != nil {
		return
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) })
	for range 1 + r.IntN(3) {
		for b := mutant(r); len(b) > 0; {
			n := 1 + r.IntN(len(b))
			if r.IntN(3) == 0 {
				n = len(b)
			}
			if _, err := c.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
	}
	switch r.IntN(4) {
	case 0:
		_ = c.SetLinger(0)
		_ = c.Close()
	case 1:
		_ = c.CloseWrite()
	case 2:
		_ = c.Close()
	}
	reading.Wait()
}

// Whatever clients send, the process lives, others are served right meanwhile and after, and
// everything comes back to rest.
func TestRandomBytes(t *testing.T) {
	harness.NoLeaks(t)
	top := one(harness.NewOrigin(t, "a"))
	top.Loops = 2
	top.Manager = "request_headers_timeout: 0.2s\nstream_idle_timeout: 1s\ndelayed_close_timeout: 0.05s\nnormalize_path: true\nhttp_protocol_options: { accept_http_10: true, enable_trailers: true }"
	p := harness.Start(t, top)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithTimeout(context.Background(), randomSeconds())
	defer cancel()
	var attacks atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				attack(r, p.Addr)
				attacks.Add(1)
			}
		})
	}
	want := bytes.Repeat([]byte("normal"), 5000)
	all.Go(func() {
		for ctx.Err() == nil {
			echo(t, p.Addr, want)
		}
	})
	all.Wait()
	t.Logf("%d connections", attacks.Load())
	echo(t, p.Addr, want)
	p.WantQuiet()
	s := p.Stats()
	if s[inHTTP+"downstream_cx_protocol_error"] == 0 || s[inHTTP+"downstream_rq_2xx"] == 0 {
		t.Errorf("%d protocol errors and %d good answers: the bytes are not half-valid", s[inHTTP+"downstream_cx_protocol_error"], s[inHTTP+"downstream_rq_2xx"])
	}
}

// echo sends body to the origin and wants it back.
func echo(t *testing.T, addr string, body []byte) {
	c, err := net.DialTimeout("tcp", addr, harness.Patience)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	client := harness.Wrap(t, c.(*net.TCPConn))
	head := "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := c.Write(append([]byte(head), body...)); err != nil {
		t.Error(err)
		return
	}
	if r := client.Read("POST"); r.Status != 200 || r.Body != string(body) || r.Err != nil {
		t.Errorf("a normal request got %v", r)
	}
}
