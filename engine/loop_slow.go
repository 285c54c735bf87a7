package engine

import (
	"fmt"

	"github.com/sluiceproxy/sluice/engine/mailbox"
	"github.com/sluiceproxy/sluice/engine/poll"
	"github.com/sluiceproxy/sluice/engine/sock"
)

func newLoop(g *Group, index int) (*Loop, error) {
	l := &Loop{
		group:   g,
		index:   index,
		readBuf: make([]byte, g.opts.ReadBufferBytes),
		scratch: make([]byte, 0, scratchBytes),
		box:     mailbox.New(mailboxMessages),
		armedNs: neverNs,
	}
	var err error
	l.poller, err = poll.New(events{l}, g.opts.Logger)
	if err != nil {
		return nil, fmt.Errorf("loop %d: %w", index, err)
	}
	return l, nil
}

// run is the loop's goroutine.
func (l *Loop) run() {
	defer l.group.running.Done()
	l.owner.claim()
	if err := l.poller.Run(); err != nil {
		l.group.opts.Logger.Error("loop stopped", "loop", l.index, "error", err)
		l.refuse()
		l.shutDown()
	}
	l.free()
}

// do makes f run on the loop, in order, and before what is posted after. Cold; any
// goroutine. It reports false when the loop has stopped.
func (l *Loop) do(f func()) bool {
	l.control.Lock()
	if l.stopped.Load() {
		l.control.Unlock()
		return false
	}
	l.control.jobs = append(l.control.jobs, f)
	l.control.any.Store(true)
	l.wake() // within the lock: after stop has taken it the poller may close
	l.control.Unlock()
	return true
}

func (l *Loop) runControl() {
	if !l.control.any.Load() {
		return
	}
	l.control.Lock()
	jobs := l.control.jobs
	l.control.jobs = nil
	l.control.any.Store(false)
	l.control.Unlock()
	for _, f := range jobs {
		l.nowFresh = false
		f()
		l.safePoint()
	}
}

// stop makes the loop end. Any goroutine.
func (l *Loop) stop() {
	l.refuse()
	l.poller.Wake()
}

// refuse takes no more work: what do accepted before is still run by shutDown.
func (l *Loop) refuse() {
	l.control.Lock()
	l.stopped.Store(true)
	l.control.Unlock()
}

// shutDown ends every connection with LoopStopped and the poller's run. Handlers
// may dial in OnClosed; such dials fail with LoopStopped too, a bounded number of
// times.
func (l *Loop) shutDown() {
	l.runControl()
	for _, s := range l.accepts {
		s.close()
	}
	l.accepts = nil
	for _, c := range l.slots {
		if c != nil {
			c.resetStopped()
		}
	}
	for n := len(l.memories); n > 0; n = len(l.memories) {
		l.memories[n-1].conn.resetStopped()
	}
	for range maxRounds {
		l.safePoint()
		if l.pendingHead == nil && len(l.tasks) == 0 {
			break
		}
	}
	l.runReady()
	l.poller.Stop()
}

// EachConn calls f with every open connection of the loop and its handler. f must not open or close any.
// Cold: O(descriptors).
func (l *Loop) EachConn(f func(c *Conn, h Handler)) {
	for _, c := range l.slots {
		if c != nil {
			f(c, c.handler)
		}
	}
	for _, m := range l.memories {
		f(m.conn, m.conn.handler)
	}
}

func (c *Conn) resetStopped() {
	if c.flags&fConnecting == 0 {
		c.resetOnClose()
	}
	c.end(LoopStopped)
}

// free closes the loop's own descriptors. The goroutine has ended or never ran.
func (l *Loop) free() {
	l.stopped.Store(true)
	for _, p := range l.pipes {
		sock.Close(p.r)
		sock.Close(p.w)
	}
	l.pipes = nil
}

// retryAccept lets accept sockets that ran out of descriptors try again.
func (l *Loop) retryAccept() {
	for _, s := range l.accepts {
		if s.starved {
			s.feed()
		}
	}
}

func badCount(used, had int) int {
	if debug {
		panic(fmt.Sprintf("engine: OnData consumed %d of %d bytes", used, had))
	}
	return min(max(used, 0), had)
}
