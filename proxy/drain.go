package proxy

import (
	"context"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// drainQuiet is how long Drain waits for idle keep-alive connections to bring one more request
// (whose response then says "connection: close") before it closes them. Most clients that reuse a
// connection do so well within it; closing at once would lose the requests already on their way.
const drainQuiet = time.Second

// drainPatience is when idle connections are closed although others are still busy.
const drainPatience = 5 * time.Second

// Drain stops accepting and lets what is under way finish: every response from now on ends its
// connection, idle connections are closed after a short wait, and Drain returns when the last
// connection is gone, when the drain time is over, or when ctx ends. The server is not closed.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	if State(s.state.Load()) != Live {
		s.mu.Unlock()
		return
	}
	s.state.Store(int32(Draining))
	all := make([]*activeListener, 0, len(s.listeners))
	for _, l := range s.listeners {
		l.draining = true
		all = append(all, l)
	}
	s.mu.Unlock()
	s.log.Info("draining", "limit", s.o.DrainTime)
	ctx, cancel := context.WithTimeout(ctx, s.o.DrainTime)
	defer cancel()
	defer context.AfterFunc(s.running, cancel)() // Close ends the wait
	for _, l := range all {
		l.drain(s)
	}
	s.mu.Lock()
	s.stopListening(all)
	s.mu.Unlock()
	s.awaitEmpty(ctx, func() (conns, busy int) {
		for _, l := range all {
			c, b := l.load(s)
			conns, busy = conns+c, busy+b
		}
		return conns, busy
	}, func() {
		for _, l := range all {
			l.closeIdle(s)
		}
	})
}

// awaitEmpty waits until no connection is left of what drains, or ctx ends. closeIdle is called for
// those that have nothing under way when there was nothing on any of them for a while, or, unless the
// drain is gradual, when the others have kept it waiting for long.
func (s *Server) awaitEmpty(ctx context.Context, load func() (conns, busy int), closeIdle func()) {
	patience := drainPatience
	if s.o.GradualDrain {
		patience = s.o.DrainTime
	}
	began, quietSince := time.Now(), time.Now()
	for ctx.Err() == nil {
		conns, busy := load()
		if conns == 0 {
			return
		}
		if busy > 0 {
			quietSince = time.Now()
		}
		if time.Since(quietSince) >= drainQuiet || time.Since(began) >= patience {
			closeIdle()
		}
		pause(ctx, 20*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// ListenerDrain is what /drain_listeners can say. The zero value closes every listening socket at once
// (OP-53).
type ListenerDrain struct {
	// Graceful drains first: responses end their connections, and the sockets close when the drain time
	// is over. SkipExit then leaves them open.
	Graceful, SkipExit bool
	// InboundOnly leaves out listeners whose traffic_direction is not INBOUND.
	InboundOnly bool
}

// DrainListeners takes listeners out of service while the server goes on, but for internal ones. Requests
// under way are never cut.
func (s *Server) DrainListeners(d ListenerDrain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if State(s.state.Load()) == stopped {
		return
	}
	var all []*activeListener
	for _, l := range s.listeners {
		if d.InboundOnly && l.conf.TrafficDirection != conf.TrafficInbound || l.internal() {
			continue
		}
		l.draining = true
		all = append(all, l)
	}
	if !d.Graceful {
		s.stopListening(all)
		return
	}
	for _, l := range all {
		l.drain(s)
	}
	if d.SkipExit {
		return
	}
	s.background.Go(func() {
		if s.sleep(s.o.DrainTime) {
			s.mu.Lock()
			s.stopListening(all)
			s.mu.Unlock()
		}
	})
}

// stopListening closes the sockets of listeners that stay in the configuration. Needs mu. Internal ones have none
// and go on: what is under way on the others may need them yet.
func (s *Server) stopListening(all []*activeListener) {
	for _, l := range all {
		if !l.stopped && !l.internal() {
			l.stopped = true
			l.close()
			s.manager.ListenerStopped.Inc()
		}
	}
}

// sleep waits; false when the server ended meanwhile.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.running.Done():
		return false
	}
}

// statsFlushInterval is Envoy's stats_flush_interval: how long a histogram interval is.
const statsFlushInterval = 5 * time.Second

// flusher writes the buffered access-log lines of every loop at the configured interval, and ends
// the intervals of histograms.
type flusher struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func startFlusher(s *Server) *flusher {
	interval := s.o.Config.AccessLogFlushInterval
	if interval <= 0 {
		interval = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &flusher{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		t := time.NewTicker(interval)
		defer t.Stop()
		intervals := time.NewTicker(statsFlushInterval)
		defer intervals.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				s.FlushLogs()
			case <-intervals.C:
				s.registry.Flush()
			}
		}
	}()
	return f
}

func (f *flusher) stop() {
	f.cancel()
	<-f.done
}

// FlushLogs hands every loop's buffered lines to the writer.
func (s *Server) FlushLogs() {
	for _, w := range s.workers {
		s.onLoop(w, w.Logs.Flush)
	}
}
