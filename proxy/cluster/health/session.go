package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/match"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// Options are those of all sessions of a cluster.
type Options struct {
	Conf  *conf.HealthCheck
	Stats *stats.HealthCheckStats
	// Turns bounds how many checks run at a time, over all clusters.
	Turns chan struct{}
	// Used says whether the cluster has had a connection: until then the no_traffic intervals hold.
	Used func() bool
	// MinInterval and MaxInterval are in milliseconds, VerifyService in percent: runtime values (CL-42).
	MinInterval, MaxInterval, VerifyService *runtime.Uint
	// Events takes the event log; nil: none.
	Events *EventLog
	// Told hears of every check: from the target's own goroutine, one call at a time.
	Told func(t *Target, s State, c Change)
}

// Target is a host to check.
type Target struct {
	// Dial connects to the host, with TLS where the cluster has it; alpn replaces what that offers, if not nil.
	Dial func(ctx context.Context, alpn []string) (net.Conn, error)
	// Address is for the event log, Authority what requests name, Cluster the cluster's name.
	Address, Authority, Cluster string
	// Of is the caller's own.
	Of any
}

// checker makes one check. Its connection, if it keeps one, is closed by close.
type checker interface {
	check(ctx context.Context) Result
	close()
}

// Checker has the sessions of a cluster.
type Checker struct {
	o       Options
	service *match.Text

	mu       sync.Mutex
	sessions map[any]*session // by Target.Of
	done     sync.WaitGroup
}

// New returns a Checker without sessions.
func New(o Options) (*Checker, error) {
	c := &Checker{o: o, sessions: make(map[any]*session)}
	if h := o.Conf.HTTP; h != nil && h.ServiceName != nil {
		text, err := match.CompileText(*h.ServiceName)
		if err != nil {
			return nil, err
		}
		c.service = &text
	}
	return c, nil
}

// Add begins to check a target.
func (c *Checker) Add(t *Target) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{c: c, target: t, cancel: cancel, failed: make(chan struct{}, 1)}
	switch {
	case c.o.Conf.HTTP != nil && c.o.Conf.HTTP.HTTP2:
		s.checker = newHTTP2(c, t)
	case c.o.Conf.HTTP != nil:
		s.checker = &http1Check{c: c, t: t}
	case c.o.Conf.GRPC != nil:
		s.checker = newGRPC(c, t)
	default:
		s.checker = &tcpCheck{c: c, t: t}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[t.Of] = s
	c.done.Go(func() { s.run(ctx) })
}

// Remove ends the checks of a target; one that is under way may still be told.
func (c *Checker) Remove(of any) {
	c.mu.Lock()
	s := c.sessions[of]
	delete(c.sessions, of)
	c.mu.Unlock()
	if s == nil {
		return
	}
	s.cancel()
	c.leave(s)
}

// leave takes a session out of the gauges for good.
func (c *Checker) leave(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.gone && s.state.Healthy {
		c.o.Stats.Healthy.Add(-1)
	}
	if !s.gone && s.state.Degraded {
		c.o.Stats.Degraded.Add(-1)
	}
	s.gone = true
}

// FailAtOnce makes a target unhealthy because an answer to a request said so.
func (c *Checker) FailAtOnce(of any) {
	c.mu.Lock()
	s := c.sessions[of]
	c.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case s.failed <- struct{}{}:
	default:
	}
}

// Close ends all checks and waits.
func (c *Checker) Close() {
	c.mu.Lock()
	for of, s := range c.sessions {
		s.cancel()
		delete(c.sessions, of)
	}
	c.mu.Unlock()
	c.done.Wait()
}

// session checks one target again and again.
type session struct {
	c       *Checker
	target  *Target
	checker checker
	cancel  context.CancelFunc
	failed  chan struct{} // x-envoy-immediate-health-check-fail
	state   State         // the session's goroutine writes it, with c.mu
	gone    bool          // c.mu: removed, and in no gauge
}

func (s *session) run(ctx context.Context) {
	defer s.checker.close()
	wait := time.NewTimer(jitter(s.c.o.Conf.InitialJitter))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.failed:
			s.failAtOnce()
			continue
		case <-wait.C:
		}
		select {
		case <-ctx.Done():
			return
		case s.c.o.Turns <- struct{}{}:
		}
		again := s.once(ctx)
		<-s.c.o.Turns
		if ctx.Err() != nil {
			return
		}
		wait.Reset(again)
	}
}

// once makes a check, tells of it, and returns when the next one is due.
func (s *session) once(ctx context.Context) time.Duration {
	o := &s.c.o
	o.Stats.Attempt.Inc()
	limited, cancel := context.WithTimeout(ctx, o.Conf.Timeout)
	r := s.checker.check(limited)
	if r.Outcome == Unreachable && (limited.Err() != nil || errors.Is(r.Err, os.ErrDeadlineExceeded)) {
		r.Outcome = Late
	}
	cancel()
	if ctx.Err() != nil {
		return 0
	}
	switch r.Outcome {
	case Good:
		o.Stats.Success.Inc()
	case Unreachable, Late:
		o.Stats.NetworkFailure.Inc()
		fallthrough
	default:
		o.Stats.Failure.Inc()
	}
	first := !s.state.Checked
	next := s.state
	change := next.Apply(o.Conf, r)
	s.c.mark(s, next)
	o.Events.note(s.target, o.Conf, r, next, change, first)
	o.Told(s.target, next, change)
	return s.interval(change)
}

func (s *session) failAtOnce() {
	s.c.o.Stats.Failure.Inc()
	s.c.o.Stats.PassiveFailure.Inc()
	next := s.state
	if !next.FailAtOnce() {
		return
	}
	change := Same
	if s.state.Healthy {
		change = Changed
	}
	s.c.mark(s, next)
	s.c.o.Events.note(s.target, s.c.o.Conf, Result{Outcome: Bad, Excluded: true, Err: errImmediate}, next, change, false)
	s.c.o.Told(s.target, next, change)
}

var errImmediate = errors.New("x-envoy-immediate-health-check-fail")

// mark makes next the state of a session, and moves the gauges.
func (c *Checker) mark(s *session, next State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.gone {
		return
	}
	at := &s.state
	move := func(was, is bool) int64 {
		switch {
		case is && !was:
			return 1
		case was && !is:
			return -1
		}
		return 0
	}
	c.o.Stats.Healthy.Add(move(at.Healthy, next.Healthy))
	c.o.Stats.Degraded.Add(move(at.Degraded, next.Degraded))
	*at = next
}

// interval is the time to the next check: by whether the host is healthy and whether that just changed,
// with jitter, within the runtime's bounds; the no_traffic ones until the cluster was used.
func (s *session) interval(change Change) time.Duration {
	c := s.c.o.Conf
	wait := c.UnhealthyInterval
	switch healthy := s.state.Healthy; {
	case !s.c.o.Used() && healthy:
		wait = c.NoTrafficHealthyInterval
	case !s.c.o.Used():
		wait = c.NoTrafficInterval
	case change == Changed && healthy:
		wait = c.HealthyEdgeInterval
	case change == Changed:
		wait = c.UnhealthyEdgeInterval
	case healthy:
		wait = c.Interval
	}
	if c.IntervalJitterPercent > 0 {
		wait += jitter(wait * time.Duration(c.IntervalJitterPercent) / 100)
	}
	wait += jitter(c.IntervalJitter)
	wait = min(wait, milliseconds(s.c.o.MaxInterval.Load()))
	return max(wait, milliseconds(s.c.o.MinInterval.Load()), time.Millisecond)
}

func milliseconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64(1<<63-1)/1e6)) * time.Millisecond
}

// jitter is a random time below d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
