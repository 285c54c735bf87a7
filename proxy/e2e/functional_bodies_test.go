package e2e

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// one is a topology with one cluster "origin".
func one(o harness.Origin) harness.Topology {
	return harness.Topology{Clusters: []harness.Cluster{{Name: "origin", Origins: []harness.Origin{o}}}}
}

// with puts more HTTP connection manager fields into a topology.
func with(top harness.Topology, manager string) harness.Topology {
	top.Manager = strings.TrimPrefix(top.Manager+"\n"+manager, "\n")
	return top
}

// patternPeriod is after how many bytes bench.Pattern repeats.
const patternPeriod = 89

var patternBlock = bench.Pattern(nil, patternPeriod<<10)

// patternReader yields n bytes of bench.Pattern.
type patternReader struct{ at, n int64 }

func (p *patternReader) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	phase := int(p.at % patternPeriod)
	n := copy(b[:min(int64(len(b)), p.n-p.at)], patternBlock[phase:])
	p.at += int64(n)
	return n, nil
}

// sumOf returns the number and the CRC-32 of the bytes of r.
func sumOf(r io.Reader) (int64, uint32, error) {
	h := crc32.NewIEEE()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return n, h.Sum32(), err
}

func patternSum(n int64) uint32 {
	_, sum, _ := sumOf(&patternReader{n: n})
	return sum
}

var bodySizes = []int64{
	0, 1, 16<<10 - 1, 16 << 10, 16<<10 + 1, 32<<10 - 1, 32<<10 + 300, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 64 << 20,
}

// Every body arrives whole, in both directions and both framings, on one connection after the other
// body and on a new one.
func TestBodiesArriveWhole(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	for _, reuse := range []bool{true, false} {
		transport := &http.Transport{DisableKeepAlives: !reuse, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}
		client := &http.Client{Transport: transport}
		for _, n := range bodySizes {
			if !reuse && n > 1<<20 {
				continue
			}
			for _, path := range []string{"/bytes/", "/chunked/"} {
				t.Run(fmt.Sprintf("download %s%d keep-alive %t", path, n, reuse), func(t *testing.T) {
					download(t, client, p.Addr, path, n)
				})
			}
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("upload %d chunked %t keep-alive %t", n, chunked, reuse), func(t *testing.T) {
					upload(t, client, p.Addr, n, chunked)
				})
			}
		}
		transport.CloseIdleConnections()
	}
}

func download(t *testing.T, client *http.Client, addr, path string, n int64) {
	t.Helper()
	resp, err := client.Get(fmt.Sprint("http://", addr, path, n))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, sum, err := sumOf(resp.Body)
	if err != nil || got != n || sum != patternSum(n) {
		t.Fatalf("%d bytes with sum %08x and %v, want %d with %08x", got, sum, err, n, patternSum(n))
	}
	length := n
	if path == "/chunked/" {
		length = -1
	}
	if resp.ContentLength != length {
		t.Errorf("content-length %d, want %d", resp.ContentLength, length)
	}
}

func upload(t *testing.T, client *http.Client, addr string, n int64, chunked bool) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, "http://"+addr+"/drain", io.NopCloser(&patternReader{n: n}))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = n
	if chunked {
		req.ContentLength = -1
	} else if n == 0 {
		req.Body = http.NoBody
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	want := fmt.Sprintf("%d %08x\n", n, patternSum(n))
	if err != nil || string(got) != want {
		t.Fatalf("the origin got %q (%v), want %q", got, err, want)
	}
}

// A gigabyte each way goes by the engine's relay: nothing of it may be held.
func TestAGigabyteEachWay(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 2 GiB")
	}
	harness.NoLeaks(t)
	const size = 1 << 30
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	want := patternSum(size)

	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	w := harness.NewWire(t, c)
	w.Send(fmt.Sprintf("GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n", size))
	if head := w.ReadStart(); head.Status() != 200 || head.Get("content-length") != fmt.Sprint(size) {
		t.Fatalf("head %+v", head)
	}
	if n, sum, err := sumOf(io.LimitReader(w.In, size)); n != size || sum != want || err != nil {
		t.Fatalf("download: %d bytes with sum %08x, %v; want %08x", n, sum, err, want)
	}

	// The same connection takes the upload: its pump must have given it back.
	w.Send(fmt.Sprintf("PUT /drain HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if n, err := io.CopyBuffer(struct{ io.Writer }{c}, &patternReader{n: size}, make([]byte, 64<<10)); err != nil {
		t.Fatalf("upload: %v after %d bytes", err, n)
	}
	if got := w.Read(); string(got.Body) != fmt.Sprintf("%d %08x\n", size, want) {
		t.Fatalf("the origin got %q, want %d %08x", got.Body, size, want)
	}
	p.WantStats(harness.Stats{"http.in.downstream_cx_total": 1, "cluster.origin.upstream_cx_total": 1, "cluster.origin.upstream_rq_200": 2})
}

// A client that writes one byte at a time, and an origin that answers so, see the same messages.
func TestByteByByte(t *testing.T) {
	harness.NoLeaks(t)
	const response = "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"
	const chunkedResponse = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
	for _, row := range []struct{ title, request, response, seen string }{
		{"length both ways", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping", response, "ping"},
		{"chunks both ways", "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npi\r\n2;x=y\r\nng\r\n0\r\n\r\n", chunkedResponse, "ping"},
	} {
		t.Run(row.title, func(t *testing.T) {
			answer := func() origin.Step { return origin.SendIn(1, 100*time.Microsecond, row.response) }
			o := harness.NewScripted(t, origin.Script{origin.ReadRequest(), answer(), origin.ReadRequest(), answer()})
			p := harness.Start(t, one(o))
			w := harness.DialWire(t, "tcp", p.Addr)
			_ = w.Conn.(*net.TCPConn).SetNoDelay(true)
			for range 2 {
				for i := range row.request {
					w.Send(row.request[i : i+1])
				}
				if got := w.Read(); got.Status() != 200 || string(got.Body) != "hello" {
					t.Fatalf("got %+v", got)
				}
			}
			seen := strings.Join(o.Received(), "")
			if strings.Count(seen, "POST /x HTTP/1.1\r\n") != 2 || strings.Count(strings.ReplaceAll(seen, "\r\n", ""), row.seen) != 2 {
				t.Errorf("the origin saw %q", seen)
			}
			p.WantStats(harness.Stats{"http.in.downstream_rq_2xx": 2, "http.in.downstream_cx_protocol_error": 0})
		})
	}
}

// A client that takes its response slowly holds the origin back, not memory, and gets every byte.
func TestASlowReaderGetsEveryByte(t *testing.T) {
	harness.NoLeaks(t)
	const size = 32 << 20
	top := one(harness.NewOrigin(t, "a"))
	top.Listener = "per_connection_buffer_limit_bytes: 32768"
	p := harness.Start(t, top)
	for _, path := range []string{"/bytes/", "/chunked/"} {
		w := harness.DialWire(t, "tcp", p.Addr)
		w.Send(fmt.Sprintf("GET %s%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path, size))
		if path == "/chunked/" {
			harness.Eventually(t, "the proxy pauses the origin", func() bool {
				return p.Stat("cluster.origin.upstream_flow_control_paused_reading_total") > 0
			})
		}
		if m := w.Read(); len(m.Body) != size || !bytes.Equal(m.Body[:patternPeriod], patternBlock[:patternPeriod]) || crc32.ChecksumIEEE(m.Body) != patternSum(size) {
			t.Fatalf("%s: %d bytes arrived, sum %08x", path, len(m.Body), crc32.ChecksumIEEE(m.Body))
		}
		w.WantClosed()
	}
}

// An echo's bytes flow both ways at once: neither direction waits for the end of the other.
func TestAnEchoFlowsWhileTheRequestIsStillComing(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr+"/echo", body)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	wrote := make(chan error, 1)
	go func() { _, err := io.WriteString(feed, "first"); wrote <- err }()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, piece := range []string{"first", "second", "third"} {
		if piece != "first" {
			go func() { _, err := io.WriteString(feed, piece); wrote <- err }()
		}
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != piece {
			t.Fatalf("got %q, %v; want %q", got, err, piece)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	_ = feed.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Fatalf("after the end: %q, %v", rest, err)
	}
}

// Bodies of a little more than the relay's threshold, whose first pieces fill the read buffer: what
// is read before the relay begins must not be counted twice.
func TestBodiesAroundTheRelaysThreshold(t *testing.T) {
	harness.NoLeaks(t)
	p := harness.Start(t, one(harness.NewOrigin(t, "a")))
	transport := &http.Transport{WriteBufferSize: 128 << 10}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: harness.Patience / 2}
	for i := range int64(150) {
		n := 64<<10 - 100 + 2*i
		download(t, client, p.Addr, "/bytes/", n)
		upload(t, client, p.Addr, n, false)
	}
}
