package engine

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Group is a set of loops that run together. Its methods may be called from any
// goroutine but those of its loops.
type Group struct {
	opts    Options
	loops   []*Loop
	running sync.WaitGroup
	active  atomic.Int64 // accepted connections open

	mu        sync.Mutex
	listeners []*Listener
	started   bool
	stopped   bool
}

// New makes the loops; they do not run yet.
func New(o Options) (*Group, error) {
	g := &Group{opts: o.withDefaults()}
	for i := range g.opts.Loops {
		l, err := newLoop(g, i)
		if err != nil {
			for _, l := range g.loops {
				l.free()
				_ = l.poller.Close()
			}
			return nil, err
		}
		g.loops = append(g.loops, l)
	}
	return g, nil
}

// Start starts a goroutine per loop.
func (g *Group) Start() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.started || g.stopped {
		return errors.New("engine: the group was started before")
	}
	g.started = true
	for _, l := range g.loops {
		g.running.Add(1)
		go l.run()
	}
	return nil
}

// Loops returns the loops. The slice is the group's own.
func (g *Group) Loops() []*Loop { return g.loops }

// Stop closes the listeners, resets every connection (OnClosed with LoopStopped;
// those that wait to be accepted get no event), and waits for the loops' goroutines to end; then all descriptors are free. When
// ctx ends first it returns ctx's error, and the loops end as their handlers
// return. A stopped group cannot be started again.
func (g *Group) Stop(ctx context.Context) error {
	g.mu.Lock()
	first := !g.stopped
	g.stopped = true
	started := g.started
	g.mu.Unlock()
	if first {
		g.closeListeners(false)
		for _, l := range g.loops {
			if started {
				l.stop()
			} else {
				l.shutDown()
				l.free()
			}
		}
	}
	done := make(chan struct{})
	go func() {
		g.running.Wait()
		if first {
			// Closed last: a loop may be woken until it and all its posters are done.
			for _, l := range g.loops {
				for l.posting.Load() > 0 {
					runtime.Gosched()
				}
				_ = l.poller.Close()
			}
		}
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain closes the listeners (see Listener.Close: who waits to be accepted is
// served) and waits until no accepted connection is left, or
// ctx ends (then it returns ctx's error). Handlers decide when their connections
// end; dialled connections are not waited for. Call Stop after.
func (g *Group) Drain(ctx context.Context) error {
	g.closeListeners(true)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for g.active.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Active returns how many accepted connections are open on all loops.
func (g *Group) Active() int { return int(g.active.Load()) }

func (g *Group) closeListeners(serve bool) {
	g.mu.Lock()
	all := slices.Clone(g.listeners)
	g.mu.Unlock()
	for _, l := range all {
		l.close(serve)
	}
}

func (g *Group) forget(l *Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.listeners, l); i >= 0 {
		g.listeners = slices.Delete(g.listeners, i, i+1)
	}
}
