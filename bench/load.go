package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load says what to send, to whom, how fast and for how long.
type Load struct {
	// Addr is the IP address and port of the proxy; names are not resolved.
	Addr string

	// Conns is the number of connections kept busy; default 1. At most one request is in flight on each.
	Conns int
	// Rate in requests per second makes the loop open; 0 is the closed loop.
	Rate float64

	// Warmup runs before the measured window, Duration is the window. MaxRequests, when not 0, ends the
	// window after exactly that many completed requests; Duration is then only the upper limit.
	Warmup, Duration time.Duration
	MaxRequests      int64
	// Timeout bounds one request, connecting included, and in an open loop also how long the requests
	// that were due in the window are waited for after it; default 10 s.
	Timeout time.Duration

	// Method, Path, Host and Header make the request; defaults GET, "/", Addr.
	Method, Path, Host string
	Header             [][2]string
	// BodyBytes of a fixed pattern are sent with a Content-Length; at most 64 MiB.
	BodyBytes int
	// CloseEach sends "Connection: close" and opens a new connection for every request.
	CloseEach bool
	// TLS, when not nil, is how connections are secured. A closed loop only. It must not resume sessions
	// where whole handshakes are to be measured: leave ClientSessionCache nil.
	TLS *tls.Config

	// WantStatus is the only status that counts as success; default 200. WantBytes, when >= 0, is the
	// exact body length; use -1 for any.
	WantStatus int
	WantBytes  int64

	// PingPongBytes, when not 0, replaces HTTP: that many bytes go out and as many must come back.
	PingPongBytes int

	// Echo, when not nil, is the origin behind the proxy of a ping-pong: the load's thread serves it too.
	Echo *Echo

	// SinkBytes, when not 0, replaces HTTP: nothing is sent, and what an endless source sends is dropped.
	// A request is then that many bytes received, and its latency the time since the last one's.
	SinkBytes int64

	// OnWindow is called on the load thread when the measured window opens (true) and ends (false), for
	// taking the proxy's CPU time at the same moments. May be nil.
	OnWindow func(open bool)
	// OnProgress is called on the load thread about four times a second. May be nil.
	OnProgress func(Progress)
}

// Progress is a running load at a glance.
type Progress struct {
	Elapsed, Total time.Duration // both with warm-up
	Requests       int64         // completed since the start, with warm-up
	PerSecond      float64       // over the last interval
	Errors         int64
}

// Result is what one load measured inside its window.
type Result struct {
	Requests int64         `json:"requests"` // completed and right
	Elapsed  time.Duration `json:"elapsed_ns"`
	// BodyBytes counts response body bytes (ping-pong: echoed bytes) of right responses; of a sink all
	// that arrived, whole requests or not.
	BodyBytes int64  `json:"body_bytes"`
	Errors    Errors `json:"errors"`
	// Connects counts connections opened in the window, Reconnects those among them that replaced a
	// keep-alive connection the proxy closed between requests.
	Connects   int64   `json:"connects"`
	Reconnects int64   `json:"reconnects"`
	Latency    Latency `json:"latency"`
	// LoadBusy is the share of one CPU that the load thread used; near 1 means the load was the limit.
	LoadBusy float64 `json:"load_busy"`
}

// PerSecond returns completed requests per second.
func (r *Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Errors counts requests that failed, by what was wrong.
type Errors struct {
	Connect int64 `json:"connect"` // refused or unreachable
	Broken  int64 `json:"broken"`  // the connection ended inside a response, or before one on a fresh connection
	Timeout int64 `json:"timeout"` // no complete response within Timeout
	Status  int64 `json:"status"`  // complete, but not WantStatus
	Length  int64 `json:"length"`  // complete, but not WantBytes
	Format  int64 `json:"format"`  // not HTTP/1, or bytes after the end of a response
}

// Total is the number of failed requests.
func (e *Errors) Total() int64 {
	return e.Connect + e.Broken + e.Timeout + e.Status + e.Length + e.Format
}

// String names the kinds that occurred, or says "none".
func (e *Errors) String() string {
	var parts []string
	for _, k := range []struct {
		name string
		n    int64
	}{
		{"connect", e.Connect},
		{"broken", e.Broken},
		{"timeout", e.Timeout},
		{"status", e.Status},
		{"length", e.Length},
		{"format", e.Format},
	} {
		if k.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", k.name, k.n))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// Latency is a distribution in nanoseconds, three significant digits. Requests that timed out are in it
// with the age they had, which is a floor.
type Latency struct {
	P50  int64 `json:"p50_ns"`
	P90  int64 `json:"p90_ns"`
	P99  int64 `json:"p99_ns"`
	P999 int64 `json:"p999_ns"`
	Max  int64 `json:"max_ns"`
	Mean int64 `json:"mean_ns"`
	N    int64 `json:"n"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	return Latency{
		P50:  h.ValueAtQuantile(50),
		P90:  h.ValueAtQuantile(90),
		P99:  h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9),
		Max:  h.Max(),
		Mean: int64(h.Mean()),
		N:    h.TotalCount(),
	}
}

const (
	maxBodyBytes   = 64 << 20
	defaultTimeout = 10 * time.Second
	// Latencies are recorded between these; a longer one counts as the longest.
	shortestLatencyNs, longestLatencyNs = 100, int64(10 * time.Minute)
)

// ErrUnsupported is what Run returns where there is no epoll.
var ErrUnsupported = errors.New("the load generator needs Linux on amd64 or arm64")

// Run drives one load to its end and returns what it measured. It uses one thread for the whole time and
// closes all its connections before it returns. It ends early, with the context's error and what was
// measured so far, when ctx does. Failed requests are counted, not returned as an error.
func Run(ctx context.Context, l Load) (Result, error) {
	if err := l.normalize(); err != nil {
		return Result{}, err
	}
	addr, err := netip.ParseAddrPort(l.Addr)
	if err != nil {
		return Result{}, fmt.Errorf("load address: %w", err)
	}
	if l.TLS != nil {
		return runTLS(ctx, &l)
	}
	return run(ctx, &l, addr)
}

func (l *Load) normalize() error {
	if l.Conns == 0 {
		l.Conns = 1
	}
	if l.Timeout == 0 {
		l.Timeout = defaultTimeout
	}
	if l.Method == "" {
		l.Method = "GET"
	}
	if l.Path == "" {
		l.Path = "/"
	}
	if l.Host == "" {
		l.Host = l.Addr
	}
	if l.WantStatus == 0 {
		l.WantStatus = 200
	}
	switch {
	case l.Conns < 0 || l.Rate < 0 || l.MaxRequests < 0 || l.PingPongBytes < 0 || l.SinkBytes < 0:
		return errors.New("load: negative connections, rate, requests or size")
	case l.Duration <= 0:
		return errors.New("load: no duration")
	case l.BodyBytes < 0 || l.BodyBytes > maxBodyBytes || l.PingPongBytes > maxBodyBytes:
		return fmt.Errorf("load: a request body is at most %d bytes", maxBodyBytes)
	case l.raw() && l.CloseEach:
		return errors.New("load: ping-pong and sink connections stay open")
	case l.TLS != nil && (l.raw() || l.Rate > 0):
		return errors.New("load: over TLS there is HTTP in a closed loop alone")
	case l.Echo != nil && l.PingPongBytes == 0:
		return errors.New("load: an echo is for ping-pong")
	case l.SinkBytes > 0 && (l.PingPongBytes > 0 || l.Rate > 0):
		return errors.New("load: a sink neither sends nor sets the rate")
	}
	return nil
}

// raw reports whether the load is plain bytes, not HTTP.
func (l *Load) raw() bool { return l.PingPongBytes > 0 || l.SinkBytes > 0 }

// request makes the bytes of one request, head and body.
func (l *Load) request() []byte {
	if l.SinkBytes > 0 {
		return nil
	}
	if l.PingPongBytes > 0 {
		return Pattern(make([]byte, 0, l.PingPongBytes), l.PingPongBytes)
	}
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", l.Method, l.Path, l.Host)
	for _, h := range l.Header {
		b = fmt.Appendf(b, "%s: %s\r\n", h[0], h[1])
	}
	if l.CloseEach {
		b = append(b, "Connection: close\r\n"...)
	}
	if l.BodyBytes > 0 {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", l.BodyBytes)
	}
	b = append(b, "\r\n"...)
	return Pattern(b, l.BodyBytes)
}

// Pattern appends n bytes of the fixed pattern that bodies are made of: byte i is '!' + i%89, all
// printable and never two lines of 64 alike, so that lost or repeated pieces show.
func Pattern(dst []byte, n int) []byte {
	for i := range n {
		dst = append(dst, '!'+byte(i%89))
	}
	return dst
}

// Hold opens n keep-alive connections to addr, over TLS unless secure is nil, has each of them do one
// request for path, and keeps them open and idle until release is called. At most parallel are being
// opened at a time. On an error what was opened is closed again.
func Hold(ctx context.Context, addr, path string, secure *tls.Config, n, parallel int) (release func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]net.Conn, n)
	closeAll := func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	ends := make(chan struct{})
	for w := range parallel {
		go func() {
			defer func() { ends <- struct{}{} }()
			for i := w; i < n && ctx.Err() == nil; i += parallel {
				var err error
				if conns[i], err = holdOne(ctx, addr, path, secure); err != nil {
					cancel(fmt.Errorf("connection %d: %w", i, err))
				}
			}
		}()
	}
	for range parallel {
		<-ends
	}
	if ctx.Err() != nil {
		closeAll()
		return nil, context.Cause(ctx)
	}
	return closeAll, nil
}

func holdOne(ctx context.Context, addr, path string, secure *tls.Config) (net.Conn, error) {
	var d net.Dialer
	d.KeepAlive = -1
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		c = tls.Client(c, secure)
	}
	_ = c.SetDeadline(time.Now().Add(defaultTimeout))
	if _, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr); err == nil {
		err = readOne(c)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

// readOne reads one response and requires that it leaves the connection usable.
func readOne(c net.Conn) error {
	var r response
	var b [2048]byte
	r.begin(false)
	for {
		n, err := c.Read(b[:])
		if err != nil {
			return err
		}
		used, done, err := r.feed(b[:n])
		if err != nil {
			return err
		}
		if done {
			if r.status != 200 || r.closes || used != n {
				return fmt.Errorf("status %d, closes %t, %d bytes too many", r.status, r.closes, n-used)
			}
			return nil
		}
	}
}

// SlowRead asks addr for path, reads the first firstBytes of the response and then reads nothing more, so
// that whatever the proxy takes from its origin stays in the proxy or in the kernel's socket buffers. It
// returns the open connection; closing it ends the scenario.
func SlowRead(ctx context.Context, addr, path string, firstBytes int) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(defaultTimeout))
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr)
	for b := make([]byte, 16<<10); err == nil && firstBytes > 0; {
		var n int
		n, err = c.Read(b[:min(len(b), firstBytes)])
		firstBytes -= n
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("slow reader: %w", err)
	}
	return c, c.SetDeadline(time.Time{})
}
