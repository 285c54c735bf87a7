//go:build linux && (amd64 || arm64)

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// loop is one running load. It is owned by one locked thread; times are nanoseconds since base.
type loop struct {
	load    *Load
	family  int
	addr    syscall.Sockaddr
	request []byte
	file    *os.File // the request once more, without a name, when it is large: sent without being copied
	fileFD  int
	base    time.Time

	epfd, timerfd int
	timerDue      int64 // when the armed timer fires; 0: not armed
	conns         []conn
	read          []byte // one buffer for all connections: a response is counted, not kept
	events        []syscall.EpollEvent

	// Open loop: request number next is due at firstDue + next*interval; idle connections wait in free.
	interval, firstDue float64
	next               int64
	free               []int32

	opened, closes int64 // window begins and ends at; closes is 0 until it ended
	windowCPU      time.Duration
	inFlight       int
	completed      int64 // since the start
	failed         int64
	nextTick       int64
	tickCompleted  int64
	tickAt         int64
	hist           *hdrhistogram.Histogram
	res            Result
}

// tickNs is how often the cold work is done: window bounds, timeouts, cancellation, progress.
const tickNs = int64(20 * time.Millisecond)

// run is Run after its checks.
func run(ctx context.Context, load *Load, addr netip.AddrPort) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l := &loop{
		load:    load,
		request: load.request(),
		base:    time.Now(),
		conns:   make([]conn, load.Conns),
		read:    make([]byte, 16<<10),
		events:  make([]syscall.EpollEvent, 512),
		hist:    hdrhistogram.New(shortestLatencyNs, longestLatencyNs, 3),
		epfd:    -1, timerfd: -1,
	}
	l.family, l.addr = sockaddrOf(addr)
	defer l.close()
	if len(l.request) >= sendfileBytes {
		if err := l.openFile(); err != nil {
			return Result{}, err
		}
	}
	if err := l.open(); err != nil {
		return Result{}, err
	}
	for i := range l.conns {
		c := &l.conns[i]
		c.index, c.fd = int32(i), -1
		if load.Rate > 0 {
			l.free = append(l.free, c.index)
		} else {
			l.send(c, l.now())
		}
	}
	err := l.drive(ctx)
	l.res.Latency = latencyOf(l.hist)
	return l.res, err
}

func (l *loop) open() (err error) {
	if e := l.load.Echo; e != nil {
		e.mu.Lock()
		l.epfd = e.epfd
	} else if l.epfd, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if l.load.Rate > 0 {
		l.interval = float64(time.Second) / l.load.Rate
		l.free = make([]int32, 0, len(l.conns))
		if l.timerfd, err = newTimer(); err != nil {
			return fmt.Errorf("timerfd: %w", err)
		}
		ev := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: timerIndex}
		if err = syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, l.timerfd, &ev); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	return nil
}

// sendfileBytes is from where on sending from a file costs less than copying.
const sendfileBytes = 16 << 10

func (l *loop) openFile() (err error) {
	if l.file, err = os.CreateTemp("", "load-request-"); err == nil {
		l.fileFD = int(l.file.Fd())
		_, err = l.file.Write(l.request)
		err = errors.Join(err, os.Remove(l.file.Name()))
	}
	if err != nil {
		return fmt.Errorf("a file for the request: %w", err)
	}
	return nil
}

// timerIndex stands for the timer where events carry a connection's index.
const timerIndex = -1

func (l *loop) close() {
	for i := range l.conns {
		if c := &l.conns[i]; c.fd >= 0 {
			rawClose(c.fd)
		}
	}
	if l.file != nil {
		_ = l.file.Close()
	}
	if e := l.load.Echo; e != nil && l.epfd >= 0 {
		l.epfd = -1
		e.mu.Unlock()
	}
	for _, fd := range []int{l.timerfd, l.epfd} {
		if fd >= 0 {
			rawClose(fd)
		}
	}
}

func (l *loop) now() int64 { return int64(time.Since(l.base)) }

// drive runs events until the window is over and, in an open loop, what was due in it is done.
func (l *loop) drive(ctx context.Context) error {
	l.firstDue = float64(l.now())
	for {
		now := l.now()
		if now >= l.nextTick {
			l.nextTick = now + tickNs
			if err := ctx.Err(); err != nil {
				l.endWindow(now)
				return fmt.Errorf("load stopped early: %w", err)
			}
			l.tick(now)
		}
		if l.over(now) {
			l.endWindow(now)
			return nil
		}
		if l.load.Rate > 0 {
			l.dispatch(now)
		}
		n := rawPoll(l.epfd, l.events)
		if n == 0 {
			n, _ = syscall.EpollWait(l.epfd, l.events, int(tickNs/int64(time.Millisecond)))
		}
		for i := range max(0, n) { // -1 is EINTR
			switch ev := &l.events[i]; {
			case ev.Fd >= 0:
				l.onEvent(&l.conns[ev.Fd], ev.Events)
			case ev.Fd == timerIndex:
				l.timerDue = 0
				var b [8]byte
				_, _ = rawRead(l.timerfd, b[:])
			default:
				l.load.Echo.onEvent(ev)
			}
		}
	}
}

// over reports whether there is nothing more to measure.
func (l *loop) over(now int64) bool {
	if l.opened == 0 {
		return false
	}
	if l.load.MaxRequests > 0 && l.res.Requests+l.res.Errors.Total() >= l.load.MaxRequests {
		return true
	}
	if now < l.opened+int64(l.load.Duration) {
		return false
	}
	if l.load.Rate == 0 {
		return true
	}
	// The requests due in the window but not sent yet are waited for like those on the wire: leaving
	// them out would hide the very stall that delayed them.
	l.endWindow(now)
	if now > l.closes+int64(l.load.Timeout) {
		l.abandon(now)
		return true
	}
	return l.inFlight == 0 && l.due() >= l.closes
}

// abandon counts the requests of an open loop's window that are not done and will not be.
func (l *loop) abandon(now int64) {
	for i := range l.conns {
		if c := &l.conns[i]; c.busy() {
			l.fail(c, now, &l.res.Errors.Timeout)
		}
	}
	for ; l.due() < l.closes; l.next++ {
		l.record(&conn{startedAt: l.due()}, now, &l.res.Errors.Timeout)
	}
}

func (l *loop) due() int64 { return int64(l.firstDue + float64(l.next)*l.interval) }

// endWindow closes the measured window once; requests due in it may still be on their way.
func (l *loop) endWindow(now int64) {
	if l.closes != 0 || l.opened == 0 {
		return
	}
	l.closes = now
	l.res.Elapsed = time.Duration(now - l.opened)
	l.res.LoadBusy = float64(threadCPU()-l.windowCPU) / float64(l.res.Elapsed)
	if l.load.OnWindow != nil {
		l.load.OnWindow(false)
	}
}

// tick does what need not be done per event.
func (l *loop) tick(now int64) {
	if l.opened == 0 && now >= int64(l.load.Warmup) {
		if l.load.OnWindow != nil {
			l.load.OnWindow(true)
		}
		l.opened, l.windowCPU = max(1, l.now()), threadCPU()
	}
	for i := range l.conns {
		if c := &l.conns[i]; c.busy() && now-c.startedAt > int64(l.load.Timeout) {
			l.fail(c, now, &l.res.Errors.Timeout)
		} else if c.state == closed && c.retryAt != 0 && now >= c.retryAt {
			c.retryAt = 0
			l.ready(c, now)
		}
	}
	if d := now - l.tickAt; l.load.OnProgress != nil && d >= int64(250*time.Millisecond) {
		l.load.OnProgress(Progress{
			Elapsed:   time.Duration(now),
			Total:     l.load.Warmup + l.load.Duration,
			Requests:  l.completed,
			PerSecond: float64(l.completed-l.tickCompleted) / (float64(d) / 1e9),
			Errors:    l.failed,
		})
		l.tickAt, l.tickCompleted = now, l.completed
	}
}

// dispatch sends the requests that are due, as far as there are connections for them, and sets the timer
// for the first that is not. A request that finds no connection keeps its due time.
func (l *loop) dispatch(now int64) {
	for len(l.free) > 0 {
		due := l.due()
		if l.closes != 0 && due >= l.closes {
			return
		}
		if due > now {
			if l.timerDue != due {
				l.timerDue = due
				armTimer(l.timerfd, time.Duration(due-now))
			}
			return
		}
		c := &l.conns[l.free[len(l.free)-1]]
		l.free = l.free[:len(l.free)-1]
		l.next++
		l.send(c, due)
	}
}

// ready is called when c has nothing to do: its next request goes out or it joins the free ones.
func (l *loop) ready(c *conn, now int64) {
	if l.load.Rate > 0 {
		l.free = append(l.free, c.index)
		return
	}
	l.send(c, now)
}

// counts reports whether a request that began (was due) at the given time belongs to the window. A closed
// loop counts what completes in the window, an open one what was due in it.
func (l *loop) counts(startedAt int64) bool {
	if l.opened == 0 {
		return false
	}
	if l.load.Rate > 0 {
		return startedAt >= l.opened && (l.closes == 0 || startedAt < l.closes)
	}
	return l.closes == 0
}
