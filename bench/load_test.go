//go:build linux && (amd64 || arm64)

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// hour is longer than any test: a load that must end by its request count ends this way or not at all.
const hour = time.Hour

func TestRunCountsExactly(t *testing.T) {
	for _, tc := range []struct {
		name string
		load Load
		body int64 // response bytes
	}{
		{"one connection", Load{Conns: 1, Path: "/bytes?n=13"}, 13},
		{"many connections", Load{Conns: 32, Path: "/bytes?n=13"}, 13},
		{"body larger than the read buffer", Load{Conns: 4, Path: "/bytes?n=1000000"}, 1_000_000},
		{"chunked", Load{Conns: 4, Path: "/chunked?n=50000"}, 50_000},
		{"until close", Load{Conns: 2, Path: "/untilclose?n=40000"}, 40_000},
		{"upload", Load{Conns: 4, Method: "POST", Path: "/count", BodyBytes: 64 << 10}, 5},
		{"upload larger than the socket buffer", Load{Conns: 2, Method: "POST", Path: "/count", BodyBytes: 8 << 20}, 7},
		{"connection per request", Load{Conns: 8, Path: "/bytes?n=7", CloseEach: true}, 7},
		{"HEAD", Load{Conns: 2, Method: "HEAD", Path: "/bytes?n=7"}, 0},
		{"open loop", Load{Conns: 8, Path: "/bytes?n=7", Rate: 5000}, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(serveTest))
			defer srv.Close()
			l := tc.load
			l.Addr, l.Duration, l.WantBytes, l.MaxRequests = srv.Listener.Addr().String(), hour, tc.body, 40
			res, err := Run(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			if res.Requests != 40 || res.Errors.Total() != 0 || res.BodyBytes != 40*tc.body || res.Latency.N != 40 {
				t.Errorf("%d requests, %d bytes, %d latencies, errors: %s", res.Requests, res.BodyBytes, res.Latency.N, &res.Errors)
			}
			// The first connections are opened before the window is.
			if tc.load.CloseEach && res.Connects < 40-int64(l.Conns) {
				t.Errorf("%d connections for 40 requests", res.Connects)
			}
			if !tc.load.CloseEach && tc.name != "until close" && res.Connects > int64(l.Conns) {
				t.Errorf("%d connections opened for %d kept alive", res.Connects, l.Conns)
			}
		})
	}
}

func serveTest(w http.ResponseWriter, r *http.Request) {
	n := 0
	_, _ = fmt.Sscan(r.FormValue("n"), &n)
	switch r.URL.Path {
	case "/bytes":
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = w.Write(Pattern(nil, n))
	case "/chunked":
		for range 10 {
			_, _ = w.Write(Pattern(nil, n/10))
			w.(http.Flusher).Flush()
		}
	case "/untilclose":
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = c.Write(Pattern([]byte("HTTP/1.1 200 OK\r\n\r\n"), n))
			_ = c.Close()
		}
	case "/count":
		got, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, got)
	case "/status":
		w.WriteHeader(n)
	case "/stall":
		<-r.Context().Done()
	}
}

func TestRunCountsWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve func(c net.Conn)
		kind  func(*Errors) int64
	}{
		{"status", answerAll("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"), func(e *Errors) int64 { return e.Status }},
		{"length", answerAll("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"), func(e *Errors) int64 { return e.Length }},
		{"not HTTP", answer("hello there, general\r\n\r\n"), func(e *Errors) int64 { return e.Format }},
		{"bytes after the end", answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!!"), func(e *Errors) int64 { return e.Format }},
		{"cut short", func(c net.Conn) {
			answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")(c)
			_ = c.Close()
		}, func(e *Errors) int64 { return e.Broken }},
		{"no answer", func(c net.Conn) { answer("")(c); _ = c.Close() }, func(e *Errors) int64 { return e.Broken }},
		{"silence", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, func(e *Errors) int64 { return e.Timeout }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := serveRaw(t, tc.serve)
			res, err := Run(t.Context(), Load{
				Addr: addr, Conns: 2, Duration: hour, MaxRequests: 4, WantBytes: 2, Timeout: 50 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := tc.kind(&res.Errors); got != 4 || res.Errors.Total() != 4 || res.Requests != 0 {
				t.Errorf("%d right, errors: %s", res.Requests, &res.Errors)
			}
		})
	}
}

// answer reads one request and writes wire.
func answer(wire string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 4096)
		if _, err := c.Read(b); err == nil {
			_, _ = io.WriteString(c, wire)
		}
	}
}

// answerAll does that for every request on a connection.
func answerAll(wire string) func(net.Conn) {
	return func(c net.Conn) {
		b, out := make([]byte, 4096), []byte(wire)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

// serveRaw runs serve on every connection and closes it when serve returned and the peer is gone too.
func serveRaw(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

func TestRunCountsRefusedConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	res, err := Run(t.Context(), Load{Addr: addr, Conns: 2, Duration: hour, MaxRequests: 4})
	if err != nil || res.Errors.Connect != 4 || res.Errors.Total() != 4 {
		t.Errorf("errors: %s (%v)", &res.Errors, err)
	}
}

// A proxy may close an idle connection just as the next request leaves; that is not the proxy's error.
func TestRunRetriesOnClosedKeepAlive(t *testing.T) {
	addr := serveRaw(t, func(c net.Conn) {
		answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(c)
		_ = c.Close()
	})
	res, err := Run(t.Context(), Load{Addr: addr, Conns: 2, Duration: hour, MaxRequests: 20, WantBytes: 2})
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests != 20 || res.Errors.Total() != 0 || res.Reconnects == 0 {
		t.Errorf("%d right, %d reconnects, errors: %s", res.Requests, res.Reconnects, &res.Errors)
	}
}

// The server answers in no time but for one stall. A closed loop meets the stall once per connection and
// its 90th percentile hides it; in an open loop every request that was due during the stall waited.
func TestOpenLoopSeesAStallThatAClosedLoopHides(t *testing.T) {
	const stall = 300 * time.Millisecond
	measure := func(rate float64) Result {
		var served atomic.Int64
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if served.Add(1) == 50 {
				time.Sleep(stall)
			}
			_, _ = io.WriteString(w, "ok")
		}))
		defer srv.Close()
		res, err := Run(t.Context(), Load{
			Addr: srv.Listener.Addr().String(), Conns: 1, Rate: rate,
			Duration: hour, MaxRequests: 400, WantBytes: 2,
		})
		if err != nil || res.Errors.Total() != 0 {
			t.Fatalf("errors: %s (%v)", &res.Errors, err)
		}
		return res
	}
	// 400 requests at 1000 a second: those due in the 300 ms of the stall are three quarters of all.
	open, closed := measure(1000), measure(0)
	if got := time.Duration(open.Latency.P50); got < stall/10 {
		t.Errorf("open loop: p50 is %v, though most requests were due during or soon after a stall of %v", got, stall)
	}
	if got := time.Duration(closed.Latency.P90); got >= stall/2 {
		t.Errorf("closed loop: p90 is %v; one stalled request of 400 should not reach it", got)
	}
	for name, r := range map[string]Result{"open": open, "closed": closed} {
		if got := time.Duration(r.Latency.Max); got < stall {
			t.Errorf("%s loop: max is %v, less than the stall of %v", name, got, stall)
		}
	}
}

func TestOpenLoopCountsAllThatWasDue(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(serveTest))
	defer srv.Close()
	res, err := Run(t.Context(), Load{
		Addr: srv.Listener.Addr().String(), Conns: 4, Rate: 500,
		Duration: 200 * time.Millisecond, Path: "/bytes?n=1", WantBytes: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	// The window opens and closes on ticks, so that it may hold a request more or less than rate x time.
	want := int64(500 * res.Elapsed.Seconds())
	if n := res.Requests + res.Errors.Total(); n < want-1 || n > want+1 || res.Latency.N != n {
		t.Errorf("%d requests and %d latencies in %v, want %d", n, res.Latency.N, res.Elapsed, want)
	}
}

func TestOpenLoopGivesUpOnWhatNeverComes(t *testing.T) {
	addr := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	res, err := Run(t.Context(), Load{
		Addr: addr, Conns: 1, Rate: 1000, Duration: 100 * time.Millisecond, Timeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests != 0 || res.Errors.Timeout < 90 || res.Latency.N != res.Errors.Timeout {
		t.Errorf("%d right, %d latencies, errors: %s", res.Requests, res.Latency.N, &res.Errors)
	}
}

func TestRunPingPong(t *testing.T) {
	addr := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	for _, size := range []int{1, 64, 100_000} {
		res, err := Run(t.Context(), Load{Addr: addr, Conns: 4, Duration: hour, MaxRequests: 40, PingPongBytes: size})
		if err != nil {
			t.Fatal(err)
		}
		if res.Requests != 40 || res.BodyBytes != 40*int64(size) || res.Errors.Total() != 0 {
			t.Errorf("size %d: %d right, %d bytes, errors: %s", size, res.Requests, res.BodyBytes, &res.Errors)
		}
	}
}

// serveRight fails every connection on which something else than count times want arrives.
func serveRight(t *testing.T, want []byte, answer string) (addr string) {
	return serveRaw(t, func(c net.Conn) {
		got := make([]byte, len(want))
		for {
			if n, err := io.ReadFull(c, got); err != nil {
				if n > 0 && n < len(want) && !bytes.HasPrefix(want, got[:n]) {
					t.Errorf("%d bytes of a request are wrong", n)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("a request of %d bytes is wrong", len(want))
				return
			}
			if answer == "" {
				_, _ = c.Write(got)
			} else {
				_, _ = io.WriteString(c, answer)
			}
		}
	})
}

// Large requests are sent from a file, small ones from memory: the bytes are the same.
func TestRequestsArriveAsTheyAre(t *testing.T) {
	for _, n := range []int{100, sendfileBytes - 1, sendfileBytes, 5_000_000} {
		l := Load{Conns: 3, Duration: hour, MaxRequests: 12, PingPongBytes: n}
		l.Addr = serveRight(t, Pattern(nil, n), "")
		if res, err := Run(t.Context(), l); err != nil || res.Requests != 12 || res.Errors.Total() != 0 {
			t.Errorf("ping-pong of %d: %d right, errors: %s (%v)", n, res.Requests, &res.Errors, err)
		}
		l = Load{Conns: 3, Duration: hour, MaxRequests: 12, Method: "POST", Host: "h", BodyBytes: n, WantBytes: 0}
		head := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", n)
		l.Addr = serveRight(t, Pattern(head, n), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if res, err := Run(t.Context(), l); err != nil || res.Requests != 12 || res.Errors.Total() != 0 {
			t.Errorf("upload of %d: %d right, errors: %s (%v)", n, res.Requests, &res.Errors, err)
		}
	}
}

func TestRunSink(t *testing.T) {
	piece := make([]byte, 300_000)
	addr := serveRaw(t, func(c net.Conn) {
		for {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	})
	for _, conns := range []int{1, 5} {
		res, err := Run(t.Context(), Load{Addr: addr, Conns: conns, Duration: hour, MaxRequests: 40, SinkBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		// What is on its way to a whole request counts as bytes, and what was dropped before the window
		// may belong to one that ends in it.
		least := (40 - int64(conns)) << 20
		if res.Requests != 40 || res.Errors.Total() != 0 || res.BodyBytes < least || res.Latency.N != 40 || res.Connects > int64(conns) {
			t.Errorf("%d connections: %d requests, %d bytes, %d connects, errors: %s", conns, res.Requests, res.BodyBytes, res.Connects, &res.Errors)
		}
	}
}

func TestRunSinkCountsWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve func(c net.Conn)
		kind  func(*Errors) int64
	}{
		{"an end", func(c net.Conn) { _, _ = c.Write(make([]byte, 10)); _ = c.Close() }, func(e *Errors) int64 { return e.Broken }},
		{"an end after some requests", func(c net.Conn) { _, _ = c.Write(make([]byte, 250)); _ = c.Close() }, func(e *Errors) int64 { return e.Broken }},
		{"silence", func(net.Conn) {}, func(e *Errors) int64 { return e.Timeout }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := Run(t.Context(), Load{
				Addr: serveRaw(t, tc.serve), Conns: 2, Duration: hour, MaxRequests: 12, SinkBytes: 100, Timeout: 50 * time.Millisecond,
			})
			if got := tc.kind(&res.Errors); err != nil || got < 4 || res.Errors.Total() != got {
				t.Errorf("%d right, errors: %s (%v)", res.Requests, &res.Errors, err)
			}
		})
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	addr := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, Load{Addr: addr, Duration: hour, OnWindow: func(open bool) {
		if open {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestRunTellsTheWindowOnce(t *testing.T) {
	addr := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	var calls []bool
	_, err := Run(t.Context(), Load{
		Addr: addr, PingPongBytes: 1, Warmup: 30 * time.Millisecond, Duration: 30 * time.Millisecond,
		OnWindow: func(open bool) { calls = append(calls, open) },
	})
	if err != nil || len(calls) != 2 || !calls[0] || calls[1] {
		t.Errorf("window calls %v (%v)", calls, err)
	}
}

func TestRunRefusesBadLoads(t *testing.T) {
	for name, l := range map[string]Load{
		"name instead of address": {Addr: "localhost:80", Duration: hour},
		"no duration":             {Addr: "127.0.0.1:1"},
		"negative rate":           {Addr: "127.0.0.1:1", Duration: hour, Rate: -1},
		"body beyond the limit":   {Addr: "127.0.0.1:1", Duration: hour, BodyBytes: maxBodyBytes + 1},
		"negative sink":           {Addr: "127.0.0.1:1", Duration: hour, SinkBytes: -1},
		"a sink that sends":       {Addr: "127.0.0.1:1", Duration: hour, SinkBytes: 1, PingPongBytes: 1},
		"a sink with a rate":      {Addr: "127.0.0.1:1", Duration: hour, SinkBytes: 1, Rate: 1},
		"a sink that reconnects":  {Addr: "127.0.0.1:1", Duration: hour, SinkBytes: 1, CloseEach: true},
	} {
		if _, err := Run(t.Context(), l); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHold(t *testing.T) {
	var open atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(serveTest))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	srv.Start()
	defer srv.Close()
	release, err := Hold(t.Context(), srv.Listener.Addr().String(), "/bytes?n=5", nil, 50, 8)
	if err != nil {
		t.Fatal(err)
	}
	if n := open.Load(); n != 50 {
		t.Errorf("%d connections held, want 50", n)
	}
	release()
	if _, err := Hold(t.Context(), srv.Listener.Addr().String(), "/status?n=404", nil, 5, 2); err == nil {
		t.Error("a refused request was taken for a held connection")
	}
}

func TestSlowReadLeavesTheRest(t *testing.T) {
	wrote := make(chan int, 1)
	addr := serveRaw(t, func(c net.Conn) {
		answer("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")(c)
		total, piece := 0, make([]byte, 1<<20)
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			n, err := c.Write(piece)
			if total += n; err != nil {
				wrote <- total
				return
			}
		}
	})
	c, err := SlowRead(t.Context(), addr, "/", 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if n := <-wrote; n >= 100<<20 {
		t.Errorf("the reader took %d bytes", n)
	}
}
