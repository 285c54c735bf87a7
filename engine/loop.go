package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/engine/mailbox"
	"github.com/sluiceproxy/sluice/engine/poll"
	"github.com/sluiceproxy/sluice/engine/sock"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/pool/buf"
	"github.com/sluiceproxy/sluice/pool/obj"
)

// Loop is one event loop. Loop-owned except for Post, Stopped, Index and Group.
type Loop struct {
	slots                    []*Conn // by descriptor
	pendingHead, pendingTail *Conn   // what the safe point has to do
	tasks, tasksRunning      []Task
	readBuf                  []byte

	nowNs    int64
	nowFresh bool
	stamp    stamp

	readyHead, readyTail *Conn // whose turn was used up

	wall                  time.Time // the wall clock at wallAtNs; read again from wallUntilNs on
	wallAtNs, wallUntilNs int64

	poller *poll.Poller
	pieces [sock.MaxVec][]byte // of one gather write

	wheel   wheel.Wheel
	armedNs int64 // when the poller's timer fires; never after the wheel's next

	slabs   buf.Pool
	connsOf obj.List[Conn]
	exts    obj.List[connExt]
	pipes   []*Pipe
	conns   int
	lastID  uint64

	inner    map[string][]*acceptSocket // memory listeners by name, the newest last
	memories []*memoryEnd               // open connections without a socket
	depth    int                        // of the connection whose handler runs

	accepts    []*acceptSocket
	acceptTurn bool // some accept socket waits for its next turn
	starved    int  // accept sockets that back off, mostly for want of descriptors

	scratch []byte
	context any
	group   *Group
	index   int
	owner   goroutineID

	// The rest is shared with other goroutines.
	box     *mailbox.Ring
	awake   atomic.Bool // a wake-up is on its way
	stopped atomic.Bool
	posting atomic.Int32
	control struct {
		sync.Mutex
		jobs []func()    // cold: listeners, stop
		any  atomic.Bool // there are jobs
	}
}

// Index returns the loop's number within its group, from 0.
func (l *Loop) Index() int { return l.index }

// Group returns the group the loop belongs to.
func (l *Loop) Group() *Group { return l.group }

// Now returns the loop's coarse clock: monotonic nanoseconds since the process
// started, read at most once per dispatched event.
func (l *Loop) Now() int64 {
	if !l.nowFresh {
		l.nowNs = int64(time.Since(base))
		l.nowFresh = true
	}
	return l.nowNs
}

// Stamp returns a time for notes of when something happened that are made with each
// message: not before Now and at most 5 ms after it, or before it by no more than
// timers run late. While a loop is busy it costs no look at the clock.
func (l *Loop) Stamp() int64 {
	if l.stamp.untilNs != 0 {
		return l.stamp.untilNs
	}
	return l.stamp.take(l)
}

// WallNow returns the wall-clock time of Now. The system's wall clock is read once a second, so a
// clock that is set while the process runs is followed within that.
func (l *Loop) WallNow() time.Time {
	now := l.Now()
	if now >= l.wallUntilNs {
		l.wall, l.wallAtNs, l.wallUntilNs = time.Now().Round(0), now, now+int64(time.Second)
	}
	return l.wall.Add(time.Duration(now - l.wallAtNs))
}

// maxArmNs keeps deadlines from overflowing; it is 146 years.
const maxArmNs = int64(1) << 62

// Arm makes t's handler run after d, in place of an earlier arming. Never early;
// late by up to a millisecond and the event being handled. O(1); a system call
// only when nothing armed is due sooner.
func (l *Loop) Arm(t *wheel.Timer, d time.Duration) {
	l.check()
	at := l.Now() + min(int64(d), maxArmNs)
	l.wheel.Add(t, at)
	if at < l.armedNs {
		l.setTimer(at)
	}
}

// ArmFirst arms t for the earliest of deadlines, which are times of Now's clock; 0
// is none. An armed timer that is due at or before that stays as it is: its handler
// is to look which deadline has come, and to call ArmFirst again.
func (l *Loop) ArmFirst(t *wheel.Timer, deadlines []int64) {
	first := int64(0)
	for _, d := range deadlines {
		if d != 0 && (first == 0 || d < first) {
			first = d
		}
	}
	if first != 0 && (!t.Armed() || t.Deadline() > first) {
		l.Arm(t, time.Duration(first-l.Now()))
	}
}

// Disarm cancels t; nothing when it is not armed. O(1).
func (l *Loop) Disarm(t *wheel.Timer) { l.wheel.Remove(t) }

// setTimer makes the poller's timer fire at the first millisecond at or after
// atNs, when the wheel calls it due.
func (l *Loop) setTimer(atNs int64) {
	const tick = int64(time.Millisecond)
	l.armedNs = atNs
	l.poller.SetTimer(time.Duration((atNs+tick-1)/tick*tick - l.Now()))
}

const neverNs = int64(1<<63 - 1)

// Post queues m to run on the loop, soon. Any goroutine; never blocks; no
// allocation for pointer-shaped messages. It reports false when the ring is full
// or the loop stopped. A message accepted may still be dropped by a stop.
func (l *Loop) Post(m mailbox.Message) bool {
	l.posting.Add(1) // the poller stays open while this is above 0
	accepted := !l.stopped.Load() && l.box.Put(m)
	if accepted {
		l.wake()
	}
	l.posting.Add(-1)
	return accepted
}

// wake makes OnWake follow. One system call when none is on its way yet.
func (l *Loop) wake() {
	if l.awake.CompareAndSwap(false, true) {
		l.poller.Wake()
	}
}

// Defer runs t at the safe point: after the handler that runs now has returned,
// before the next event. A task put twice runs twice. No allocation in steady
// state.
func (l *Loop) Defer(t Task) {
	l.check()
	l.tasks = append(l.tasks, t)
}

// Scratch returns an empty 64 KiB buffer of the loop, for serialising. Valid
// until the next caller uses it, so not across anything but plain computation.
func (l *Loop) Scratch() []byte { return l.scratch[:0] }

// ReadBuffer returns the loop's read buffer, for raw readers. Valid until the
// raw callback returns.
func (l *Loop) ReadBuffer() []byte { return l.readBuf }

// Slabs returns the loop's slab pool.
func (l *Loop) Slabs() *buf.Pool { return &l.slabs }

// Stopped reports whether the loop takes no more messages. Any goroutine.
func (l *Loop) Stopped() bool { return l.stopped.Load() }

// Conns returns how many connections the loop has, dialled ones included.
func (l *Loop) Conns() int { return l.conns }

// Context returns what SetContext stored: the embedder's state for this loop.
func (l *Loop) Context() any { return l.context }

// SetContext stores the embedder's state for this loop. Also allowed before Start.
func (l *Loop) SetContext(v any) { l.context = v }

// OnLoop reports whether the caller runs on the loop's goroutine. Only builds with
// the tag sluicedebug know; others say true.
func (l *Loop) OnLoop() bool { return l.owner.isCaller() }

// events adapts Loop to poll.Handler without exporting the methods.
type events struct{ l *Loop }

func (h events) OnEvent(fd int, ev poll.Events) {
	l := h.l
	l.nowFresh = false
	if fd < len(l.slots) {
		if c := l.slots[fd]; c != nil {
			if ev&^poll.Writable == poll.Readable && c.flags&(fRaw|fNoRead|fBlocked|fLinger|fTransform) == fRaw {
				// As onEvent and onReadable: a relay's message, which costs little enough to notice calls.
				c.flags &^= fReadReady
				if c.passes() {
					c.pass()
				} else {
					c.unread()
					c.ext.reader.OnReadable(c)
				}
				if c.flags&(fReadReady|fNoRead) == fReadReady {
					l.nextTurn(c)
				}
			} else {
				c.onEvent(ev)
			}
			if l.pendingHead != nil || len(l.tasks) > 0 {
				l.safePoint()
			}
			return
		}
	}
	for _, s := range l.accepts {
		if s.fd == fd {
			s.onReadable()
			return
		}
	}
}

func (h events) OnTimer() {
	l := h.l
	l.nowFresh = false
	l.armedNs = 0 // no setting while handlers arm: it is done once, below
	now := l.Now()
	for t := l.wheel.Expire(now); t != nil; t = l.wheel.Expire(now) {
		l.nowFresh = false // each is an event of its own: what it arms must not be early
		t.Handler.OnTimer(t)
		l.safePoint()
	}
	l.armedNs = neverNs
	if at, ok := l.wheel.Next(); ok {
		l.nowFresh = false
		l.setTimer(at)
	}
}

func (h events) OnWake() {
	l := h.l
	l.nowFresh = false
	l.awake.Store(false)
	l.runControl()
	l.runReady()
	if l.acceptTurn {
		l.acceptTurn = false
		for i := 0; i < len(l.accepts); i++ {
			if s := l.accepts[i]; s.ready {
				s.onReadable()
			}
		}
	}
	for range l.box.Cap() {
		m := l.box.Take()
		if m == nil {
			break
		}
		l.runControl() // what was asked of the loop before m was posted comes first
		l.nowFresh = false
		m.Run()
		l.safePoint()
	}
	l.safePoint()
	if l.stopped.Load() {
		l.shutDown()
	}
	// What producers put since the Store above comes with a wake-up of its own.
}

// nextTurn lets the loop's other events go first.
func (l *Loop) nextTurn(c *Conn) {
	if c.flags&fInReady != 0 {
		return
	}
	c.flags |= fInReady
	if l.readyTail == nil {
		l.readyHead = c
	} else {
		l.readyTail.nextReady = c
	}
	l.readyTail = c
	l.wake()
}

// runReady gives each connection that waits one turn.
func (l *Loop) runReady() {
	c := l.readyHead
	l.readyHead, l.readyTail = nil, nil
	for c != nil {
		next := c.nextReady
		c.nextReady = nil
		c.flags &^= fInReady
		if c.flags&fClosed == 0 {
			l.nowFresh = false
			l.depth = c.depth()
			c.onReadable()
			l.depth = 0
		} else if c.flags&fInPending == 0 {
			l.freeConn(c) // finished while it was on this list
		}
		l.safePoint()
		c = next
	}
}

// maxRounds bounds how often what the safe point does may cause more for it to
// do, before other events get their turn.
const maxRounds = 64

// safePoint runs deferred tasks and what connections left to do, until there
// is nothing. No handler is on the stack here, so objects can be freed.
func (l *Loop) safePoint() {
	for round := 0; l.pendingHead != nil || len(l.tasks) > 0; round++ {
		if round == maxRounds {
			l.wake()
			return
		}
		l.runTasks()
		c := l.pendingHead
		l.pendingHead, l.pendingTail = nil, nil
		for c != nil {
			next := c.nextPending
			c.nextPending = nil
			c.flags &^= fInPending
			l.depth = c.depth()
			c.settle()
			c = next
		}
		l.depth = 0
	}
}

func (l *Loop) runTasks() {
	if len(l.tasks) == 0 {
		return
	}
	run := l.tasks
	l.tasks = l.tasksRunning[:0]
	for i, t := range run {
		run[i] = nil
		t.Run(l)
	}
	l.tasksRunning = run[:0]
}

// newConn takes a connection from the free list and registers its descriptor's
// slot. fd may be -1 (a dial that failed at once).
func (l *Loop) newConn(fd int, flags connFlags) *Conn {
	c := l.connsOf.Get()
	*c = Conn{
		loop: l, fd: int32(fd), flags: flags,
		high: defaultHighMark, readLimit: defaultReadLimit,
	}
	c.out.Init(&l.slabs)
	l.lastID++
	c.id = uint64(l.index)<<48 | l.lastID
	l.conns++
	if fd >= 0 {
		if fd >= len(l.slots) {
			l.growSlots(fd)
		}
		l.slots[fd] = c
	}
	return c
}

func (l *Loop) growSlots(fd int) {
	n := max(len(l.slots), 64)
	for n <= fd {
		n *= 2
	}
	grown := make([]*Conn, n)
	copy(grown, l.slots)
	l.slots = grown
}

func (l *Loop) freeConn(c *Conn) {
	if debug {
		c.flags |= fFreed
	}
	l.connsOf.Put(c)
}
