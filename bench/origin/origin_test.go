package origin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/bench"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server and returns it with a client that keeps connections alive.
func start(t *testing.T, o Options) (*Server, *http.Client) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		s.Stop()
	})
	return s, &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func TestPaths(t *testing.T) {
	s, client := start(t, Options{Name: "blue"})
	upload := bench.Pattern(nil, 3_000_000)
	sum := fmt.Sprintf("%d %08x\n", len(upload), crc32.ChecksumIEEE(upload))
	for _, tc := range []struct {
		method, path string
		send         io.Reader
		status       int
		want         string
	}{
		{"GET", "/", nil, 200, "hello from blue\n"},
		{"POST", "/", strings.NewReader("ignored"), 200, "hello from blue\n"},
		{"HEAD", "/", nil, 200, ""},
		{"GET", "/bytes/0", nil, 200, ""},
		{"GET", "/bytes/1", nil, 200, "!"},
		{"GET", "/bytes/10240", nil, 200, string(bench.Pattern(nil, 10240))},
		{"GET", "/bytes/5000000", nil, 200, string(bench.Pattern(nil, 5_000_000))},
		{"HEAD", "/bytes/5000000", nil, 200, ""},
		{"GET", "/bytes/x", nil, 400, "/bytes/ takes a number from 0 to 1099511627776\n"},
		{"GET", "/chunked/0", nil, 200, ""},
		{"GET", "/chunked/3000000", nil, 200, string(bench.Pattern(nil, 3_000_000))},
		{"HEAD", "/chunked/3000000", nil, 200, ""},
		{"GET", "/checksum/200000", nil, 200, string(bench.Pattern(nil, 200_000))},
		{"GET", "/status/404", nil, 404, "status 404\n"},
		{"GET", "/status/204", nil, 204, ""},
		{"GET", "/status/304", nil, 304, ""},
		{"GET", "/status/100", nil, 400, "/status/ takes a number from 200 to 599\n"},
		{"GET", "/delay/0", nil, 200, "delayed 0\n"},
		{"GET", "/delay/20", nil, 200, "delayed 20\n"},
		{"HEAD", "/delay/1", nil, 200, ""},
		{"GET", "/slow?bytes=5&every=2", nil, 200, string(bench.Pattern(nil, 5))},
		{"GET", "/slow?bytes=0&every=2", nil, 400, "/slow takes bytes and every (milliseconds), both at least 1\n"},
		{"POST", "/echo", strings.NewReader("hello"), 200, "hello"},
		{"POST", "/echo", bytes.NewReader(upload), 200, string(upload)},
		{"POST", "/echo", io.MultiReader(bytes.NewReader(upload)), 200, string(upload)}, // chunked
		{"POST", "/echo", nil, 200, ""},
		{"POST", "/drain", bytes.NewReader(upload), 200, sum},
		{"POST", "/drain", io.MultiReader(bytes.NewReader(upload)), 200, sum},
		{"GET", "/drain", nil, 200, "0 00000000\n"},
		{"GET", "/close", nil, 200, "closing\n"},
		{"GET", "/nothing/here", nil, 404, "no such path\n"},
		{"GET", "/echoes", nil, 404, "no such path\n"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			for range 2 { // the second time on a connection that served before
				if tc.send != nil {
					if seeker, ok := tc.send.(io.Seeker); ok {
						_, _ = seeker.Seek(0, io.SeekStart)
					}
				}
				status, _, got := do(t, client, tc.method, "http://"+s.Addr().String()+tc.path, tc.send)
				if status != tc.status || got != tc.want {
					t.Fatalf("status %d and %d bytes (%.40q), want %d and %d", status, len(got), got, tc.status, len(tc.want))
				}
				if _, ok := tc.send.(io.Seeker); !ok {
					break
				}
			}
		})
	}
}

func do(t *testing.T, client *http.Client, method, url string, body io.Reader) (status int, h http.Header, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func TestChecksumHeaderIsThatOfTheBody(t *testing.T) {
	s, client := start(t, Options{})
	_, h, body := do(t, client, "GET", "http://"+s.Addr().String()+"/checksum/1000001", nil)
	if want := fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))); h.Get("X-Checksum") != want {
		t.Errorf("X-Checksum %q, the body's is %q", h.Get("X-Checksum"), want)
	}
}

func TestConnectionsAreKeptAndCounted(t *testing.T) {
	s, client := start(t, Options{})
	for range 10 {
		do(t, client, "GET", "http://"+s.Addr().String()+"/", nil)
	}
	if s.Requests() != 10 || s.Connections() != 1 {
		t.Errorf("%d requests on %d connections", s.Requests(), s.Connections())
	}
	do(t, client, "GET", "http://"+s.Addr().String()+"/close", nil)
	do(t, client, "GET", "http://"+s.Addr().String()+"/", nil)
	if s.Connections() != 2 {
		t.Errorf("%d connections, though the first was to close", s.Connections())
	}
}

// raw sends wire on a connection of its own and returns all that comes back until the end.
func raw(t *testing.T, addr, wire string, halfClose bool) (string, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, wire); err != nil {
		t.Fatal(err)
	}
	if halfClose {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestRawExchanges(t *testing.T) {
	s, _ := start(t, Options{})
	hello := "HTTP/1.1 200 OK\r\nContent-Length: 18\r\nContent-Type: text/plain\r\n\r\nhello from origin\n"
	for _, tc := range []struct {
		name, wire string
		halfClose  bool
		want       string
	}{
		{"pipelined requests are answered in order", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true, hello + hello},
		{
			"a request behind a delayed one waits", "GET /delay/30 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", true,
			"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\ndelayed 30\n" + hello,
		},
		{
			"the head comes back as it was sent", "GET /headers HTTP/1.1\r\nhOst: a\r\nX-b:  c \r\n\r\n", true,
			"HTTP/1.1 200 OK\r\nContent-Length: 44\r\nContent-Type: text/plain\r\n\r\nGET /headers HTTP/1.1\r\nhOst: a\r\nX-b:  c \r\n\r\n",
		},
		{
			"HTTP/1.0 closes", "GET /bytes/3 HTTP/1.0\r\n\r\n", false,
			"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n!\"#",
		},
		{"HTTP/1.0 gets no chunks", "GET /chunked/3 HTTP/1.0\r\n\r\n", false, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n!\"#"},
		{
			"an expectation is met first", "POST /drain HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", false,
			"HTTP/1.1 100 Continue\r\n\r\n" +
				"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n1 8cdc1683\n",
		},
		{
			"nonsense is refused", "nonsense\r\n\r\n", false,
			"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := raw(t, s.Addr().String(), tc.wire, tc.halfClose)
			if err != nil {
				t.Fatal(err)
			}
			if head, _, found := strings.Cut(tc.want, "%d"); found {
				got, tc.want = got[:min(len(got), len(head))], head
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestResetPathResets(t *testing.T) {
	s, _ := start(t, Options{})
	got, err := raw(t, s.Addr().String(), "GET /reset HTTP/1.1\r\nHost: a\r\n\r\n", false)
	if err == nil || got != "" {
		t.Errorf("%q and error %v, want a reset", got, err)
	}
}

func TestEchoServer(t *testing.T) {
	s, _ := start(t, Options{EchoAddr: "127.0.0.1:0"})
	for _, n := range []int{1, 1000, spliceBytes, 200_000} {
		sent := string(bench.Pattern(nil, n))
		if got, err := raw(t, s.EchoAddr().String(), sent, true); err != nil || got != sent {
			t.Errorf("%d bytes back of %d (%v)", len(got), len(sent), err)
		}
	}
}

// A client that writes far ahead of its reading is held up, and nothing is lost when it reads at last.
func TestEchoWaitsForItsReader(t *testing.T) {
	s, _ := start(t, Options{EchoAddr: "127.0.0.1:0"})
	c, err := net.Dial("tcp", s.EchoAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	sent := bench.Pattern(nil, 60_000_000) // more than the sockets and the pipe hold
	_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	n, err := c.Write(sent)
	if err == nil {
		t.Fatalf("all %d bytes were taken though none was read", n)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		_, _ = c.Write(sent[n:])
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes back of %d (%v)", len(got), len(sent), err)
	}
}

func TestSource(t *testing.T) {
	s, _ := start(t, Options{SourceAddr: "127.0.0.1:0"})
	want := bench.Pattern(nil, 2*sourceBytes+1000) // past the file's end
	var clients sync.WaitGroup
	for range 3 { // at a time: each has its own place in the file
		clients.Go(func() {
			c, err := net.Dial("tcp", s.SourceAddr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			got := make([]byte, len(want))
			if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d (%v), equal: %t", n, len(want), err, bytes.Equal(got, want))
			}
		})
	}
	clients.Wait()
	// Stop ends a connection that waits for its reader; start's cleanup would hang otherwise.
	c, err := net.Dial("tcp", s.SourceAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection outlived the server")
	}
	if _, err := New(Options{SourceAddr: "192.0.2.1:0"}); err == nil {
		t.Error("listens on an address that is not here")
	}
}

// A client that stops reading must not make the origin hold the whole body.
func TestLongBodiesAreWrittenAsTheyAreRead(t *testing.T) {
	s, _ := start(t, Options{})
	c, err := bench.SlowRead(t.Context(), s.Addr().String(), "/bytes/1000000000000", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// The rest goes on where it stopped: the stream is that of one unbroken pattern.
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	b := make([]byte, 1<<20)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	phase := int(b[0] - '!')
	if want := bench.Pattern(nil, phase+len(b))[phase:]; !bytes.Equal(b, want) {
		t.Error("bytes are missing or repeated")
	}
}

func TestManyConnectionsOnTwoLoops(t *testing.T) {
	s, client := start(t, Options{Loops: 2})
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 20 {
				res, err := client.Get("http://" + s.Addr().String() + "/bytes/100000")
				if err != nil {
					t.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if n != 100_000 || err != nil {
					t.Errorf("%d bytes (%v)", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s.Requests() != 32*20 {
		t.Errorf("%d requests counted of %d", s.Requests(), 32*20)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Serve(ctx, Options{}); err != nil {
		t.Error(err)
	}
	if err := Serve(t.Context(), Options{Addr: "127.0.0.1:notaport"}); err == nil {
		t.Error("a bad address was taken")
	}
}
