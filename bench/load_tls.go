package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A load over TLS has a goroutine for each connection, and crypto/tls as the client. It costs the load's
// CPU more than the loop of loop_linux.go does, but of a handshake most is the cryptography's whoever
// asks for it; for many requests on one connection h2load is cheaper.

// tlsLoad is one running load over TLS.
type tlsLoad struct {
	load    *Load
	request []byte
	dialer  net.Dialer
	counts  atomic.Bool  // the window is open
	done    atomic.Int64 // completed or failed in the window
	total   atomic.Int64 // completed since the start
	failed  atomic.Int64
	full    chan struct{} // closed when MaxRequests are done
	once    sync.Once

	mu   sync.Mutex
	res  Result
	hist *hdrhistogram.Histogram
}

// runTLS is Run for a load with TLS. A closed loop only.
func runTLS(ctx context.Context, load *Load) (Result, error) {
	l := &tlsLoad{
		load: load, request: load.request(), full: make(chan struct{}),
		hist: hdrhistogram.New(shortestLatencyNs, longestLatencyNs, 3),
	}
	l.dialer.KeepAlive = -1
	working, stop := context.WithCancel(ctx)
	defer stop()
	var clients sync.WaitGroup
	for range load.Conns {
		clients.Go(func() { l.client(working) })
	}
	err := l.window(ctx)
	stop()
	clients.Wait()
	l.res.Latency = latencyOf(l.hist)
	return l.res, err
}

// window waits for the warm-up, opens the window and closes it in time.
func (l *tlsLoad) window(ctx context.Context) error {
	began := time.Now()
	if err := l.wait(ctx, began, l.load.Warmup, nil); err != nil {
		return err
	}
	if l.load.OnWindow != nil {
		l.load.OnWindow(true)
	}
	opened, cpu := time.Now(), processCPU()
	l.counts.Store(true)
	err := l.wait(ctx, began, l.load.Warmup+l.load.Duration, l.full)
	l.counts.Store(false)
	l.mu.Lock() // whoever is in the middle of counting is done then
	l.res.Elapsed = time.Since(opened)
	l.mu.Unlock()
	l.res.LoadBusy = float64(processCPU()-cpu) / float64(l.res.Elapsed)
	if l.load.OnWindow != nil {
		l.load.OnWindow(false)
	}
	return err
}

// wait returns at the time until after began, or when full is closed, and tells of the progress meanwhile.
func (l *tlsLoad) wait(ctx context.Context, began time.Time, until time.Duration, full <-chan struct{}) error {
	due := time.NewTimer(time.Until(began.Add(until)))
	defer due.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	before, at := l.total.Load(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("load stopped early: %w", ctx.Err())
		case <-due.C:
			return nil
		case <-full:
			return nil
		case now := <-tick.C:
			n := l.total.Load()
			if l.load.OnProgress != nil {
				l.load.OnProgress(Progress{
					Elapsed: now.Sub(began), Total: l.load.Warmup + l.load.Duration, Requests: n,
					PerSecond: float64(n-before) / now.Sub(at).Seconds(), Errors: l.failed.Load(),
				})
			}
			before, at = n, now
		}
	}
}

// client does one request after the other until ctx ends.
func (l *tlsLoad) client(ctx context.Context) {
	buffer := make([]byte, 16<<10)
	var c net.Conn
	var r response
	for ctx.Err() == nil {
		began, fresh := time.Now(), c == nil
		var kind *int64
		if fresh {
			if c = l.dial(ctx); c == nil {
				kind = &l.res.Errors.Connect
			}
		}
		if c != nil {
			kind = l.exchange(c, &r, buffer, began)
		}
		if ctx.Err() != nil {
			break // cut off, not failed
		}
		l.record(began, fresh, kind, r.body)
		if c != nil && (kind != nil || l.load.CloseEach || r.closes) {
			_ = c.Close()
			c = nil
		}
		if kind != nil {
			pause := time.NewTimer(10 * time.Millisecond) // no tight loop against a proxy that refuses everything
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
	if c != nil {
		_ = c.Close()
	}
}

// dial connects and shakes hands; nil when that failed.
func (l *tlsLoad) dial(ctx context.Context) net.Conn {
	ctx, cancel := context.WithTimeout(ctx, l.load.Timeout)
	defer cancel()
	c, err := l.dialer.DialContext(ctx, "tcp", l.load.Addr)
	if err != nil {
		return nil
	}
	t := tls.Client(c, l.load.TLS)
	if t.HandshakeContext(ctx) != nil {
		_ = c.Close()
		return nil
	}
	return t
}

// exchange sends the request and reads the response, and with CloseEach the end of the connection, which
// the proxy is to close first. It returns the counter of what went wrong.
func (l *tlsLoad) exchange(c net.Conn, r *response, buffer []byte, began time.Time) (kind *int64) {
	e := &l.res.Errors
	broken := func(err error) *int64 {
		var t net.Error
		if errors.As(err, &t) && t.Timeout() {
			return &e.Timeout
		}
		return &e.Broken
	}
	_ = c.SetDeadline(began.Add(l.load.Timeout))
	r.begin(l.load.Method == "HEAD")
	if _, err := c.Write(l.request); err != nil {
		return broken(err)
	}
	for done := false; !done; {
		n, err := c.Read(buffer)
		if n == 0 {
			return broken(err)
		}
		used, whole, wrong := r.feed(buffer[:n])
		if wrong != nil || used < n {
			return &e.Format
		}
		done = whole
	}
	switch {
	case r.status != l.load.WantStatus:
		return &e.Status
	case l.load.WantBytes >= 0 && r.body != l.load.WantBytes:
		return &e.Length
	case l.load.CloseEach:
		if n, err := c.Read(buffer); n > 0 {
			return &e.Format
		} else if !errors.Is(err, io.EOF) {
			return broken(err)
		}
	}
	return nil
}

// record counts one request that ended in the window; kind is nil for one that was right.
func (l *tlsLoad) record(began time.Time, fresh bool, kind *int64, body int64) {
	if kind == nil {
		l.total.Add(1)
	} else {
		l.failed.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.counts.Load() || l.load.MaxRequests > 0 && l.done.Load() >= l.load.MaxRequests {
		return
	}
	if fresh {
		l.res.Connects++
	}
	if kind == nil {
		l.res.Requests++
		l.res.BodyBytes += body
		_ = l.hist.RecordValue(min(max(int64(time.Since(began)), shortestLatencyNs), longestLatencyNs))
	} else {
		*kind++
	}
	if l.done.Add(1) == l.load.MaxRequests {
		l.once.Do(func() { close(l.full) })
	}
}

// processCPU returns the CPU time of this process.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
