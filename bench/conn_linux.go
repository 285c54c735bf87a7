//go:build linux && (amd64 || arm64)

package bench

import (
	"syscall"
	"time"
)

// conn is one client connection. Owned by the loop.
//
//	state       event                       -> next
//	closed      send                        -> connecting, or sending when the connect is immediate
//	connecting  writable                    -> sending
//	sending     request written             -> receiving
//	receiving   response complete           -> idle; lingering when the connection is to end; closed
//	lingering   peer's end of stream        -> closed, then the next request
//	idle        send                        -> sending; peer's end of stream -> closed
//	any         failure                     -> closed, and a pause before the next attempt
type conn struct {
	fd        int
	index     int32
	state     connState
	served    int32 // responses on this connection
	sent      int   // bytes of the request written
	startedAt int64 // open loop: when the request was due
	retryAt   int64 // closed after a failure: when to go on
	echoed    int64 // ping-pong: bytes back so far; sink: bytes of this request so far
	resp      response
}

type connState uint8

const (
	closed connState = iota
	connecting
	sending
	receiving
	lingering
	idle
)

// retryPause keeps a proxy that refuses everything from being hammered in a tight loop.
const retryPause = int64(10 * time.Millisecond)

func (c *conn) busy() bool { return c.state >= connecting && c.state <= lingering }

// send starts one request on c, connecting first if need be. startedAt is when it was due.
func (l *loop) send(c *conn, startedAt int64) {
	c.startedAt, c.sent, c.echoed = startedAt, 0, 0
	c.resp.begin(l.load.Method == "HEAD")
	l.inFlight++
	if c.state == closed {
		l.connect(c)
		return
	}
	c.state = sending
	l.write(c)
}

func (l *loop) connect(c *conn) {
	fd, err := syscall.Socket(l.family, syscall.SOCK_STREAM|sockNonblock, 0)
	if err != nil {
		l.fail(c, l.now(), &l.res.Errors.Connect)
		return
	}
	c.fd, c.served, c.state = fd, 0, connecting
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if l.opened != 0 && l.closes == 0 {
		l.res.Connects++
	}
	err = syscall.Connect(fd, l.addr)
	if err != nil && err != syscall.EINPROGRESS {
		l.fail(c, l.now(), &l.res.Errors.Connect)
		return
	}
	ev := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | epollET,
		Fd:     c.index,
	}
	if syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, fd, &ev) != nil {
		l.fail(c, l.now(), &l.res.Errors.Connect)
		return
	}
	if err == nil { // loopback often connects at once
		c.state = sending
		l.write(c)
	}
}

const epollET = 1 << 31

// write sends what is left of the request.
func (l *loop) write(c *conn) {
	for c.sent < len(l.request) {
		n, e := l.writeSome(c)
		if e == syscall.EAGAIN {
			return // the edge comes
		}
		if e != 0 {
			// An answer may be there all the same (a refused upload); reading tells.
			break
		}
		c.sent += n
	}
	c.state = receiving
}

func (l *loop) writeSome(c *conn) (int, syscall.Errno) {
	if l.file != nil {
		return rawSendfile(c.fd, l.fileFD, c.sent, len(l.request)-c.sent)
	}
	return rawWrite(c.fd, l.request[c.sent:])
}

// onEvent handles one readiness report.
func (l *loop) onEvent(c *conn, events uint32) {
	if c.state == connecting {
		if events&(syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
			l.fail(c, l.now(), &l.res.Errors.Connect)
			return
		}
		if events&syscall.EPOLLOUT == 0 {
			return
		}
		c.state = sending
	}
	if c.state == sending && events&syscall.EPOLLOUT != 0 {
		l.write(c)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return
	}
	hangup := events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0
	switch {
	case l.load.PingPongBytes > 0:
		l.readEcho(c)
	case l.load.SinkBytes > 0:
		l.readSink(c, hangup)
	default:
		l.readResponse(c, hangup)
	}
}

// readResponse reads until the socket is empty or the response is done. A short read means empty, so that
// a small response costs one read; not so after a hangup, when the end of the stream must be read too.
func (l *loop) readResponse(c *conn, hangup bool) {
	for {
		if left := c.resp.discardable(); left > 0 && c.state <= receiving {
			n, e := rawDiscard(c.fd, left)
			if e == syscall.EAGAIN {
				return
			}
			if e != 0 || n == 0 {
				l.ended(c)
				return
			}
			if c.resp.skip(n); c.resp.phase == atEnd {
				if !l.complete(c) {
					return
				}
			} else if n < left && !hangup && c.resp.phase != inRest {
				return
			}
			continue
		}
		n, e := rawRead(c.fd, l.read)
		if e == syscall.EAGAIN {
			return
		}
		if e != 0 || n == 0 {
			l.ended(c)
			return
		}
		if c.state == idle || c.state == lingering {
			l.garbage(c)
			return
		}
		used, done, err := c.resp.feed(l.read[:n])
		if err != nil || used < n {
			l.fail(c, l.now(), &l.res.Errors.Format)
			return
		}
		if done {
			if !l.complete(c) {
				return
			}
		}
		if n < len(l.read) && !hangup && c.resp.discardable() == 0 {
			return
		}
	}
}

func (l *loop) readEcho(c *conn) {
	for {
		left := int64(l.load.PingPongBytes) - c.echoed
		n, e := rawDiscard(c.fd, max(1, left))
		if e == syscall.EAGAIN {
			return
		}
		if e != 0 || n == 0 || c.state == idle {
			l.ended(c)
			return
		}
		if c.echoed += n; n < left {
			continue // until the socket is empty: the peer may have ended the stream behind it
		}
		c.resp.status = l.load.WantStatus
		c.resp.body = c.echoed
		l.complete(c)
		return // the echo of the next message is another event
	}
}

// sinkRead is more than a socket holds, so that one call drops all there is.
const sinkRead = 1 << 30

// readSink drops what arrived. Requests are cut from the stream as their bytes come in.
func (l *loop) readSink(c *conn, hangup bool) {
	for {
		n, e := rawDiscard(c.fd, sinkRead)
		if e == syscall.EAGAIN {
			return
		}
		if e != 0 || n == 0 {
			l.ended(c)
			return
		}
		if l.opened != 0 && l.closes == 0 {
			l.res.BodyBytes += n
		}
		for c.echoed += n; c.echoed >= l.load.SinkBytes; c.echoed -= l.load.SinkBytes {
			now := l.now()
			l.completed++
			l.record(c, now, nil)
			c.startedAt = now
		}
		if !hangup {
			return
		}
	}
}

// complete counts the response that c has and moves on. It reports whether there may be more to read from
// c now: its end of stream, when the connection is to end.
func (l *loop) complete(c *conn) bool {
	now := l.now()
	c.served++
	l.inFlight--
	l.completed++
	var wrong *int64
	switch {
	case c.resp.status != l.load.WantStatus:
		wrong = &l.res.Errors.Status
	case l.load.WantBytes >= 0 && !l.load.raw() && c.resp.body != l.load.WantBytes:
		wrong = &l.res.Errors.Length
	}
	l.record(c, now, wrong)
	// A response before the whole request was read leaves the connection useless for the next.
	if c.sent < len(l.request) {
		l.drop(c)
		l.ready(c, now)
		return false
	}
	if c.resp.closes || l.load.CloseEach {
		c.state = lingering // the side that closes first keeps the TIME_WAIT; let it be the proxy
		c.startedAt = now   // what the timeout runs from
		l.inFlight++
		return true
	}
	c.state = idle
	l.ready(c, now)
	return false
}

// record puts one finished request into the result. wrong is the error counter it belongs to, or nil.
func (l *loop) record(c *conn, now int64, wrong *int64) {
	if wrong != nil {
		l.failed++
	}
	if !l.counts(c.startedAt) {
		return
	}
	if l.load.MaxRequests > 0 && l.res.Requests+l.res.Errors.Total() >= l.load.MaxRequests {
		return
	}
	_ = l.hist.RecordValue(min(max(now-c.startedAt, shortestLatencyNs), longestLatencyNs))
	if wrong != nil {
		*wrong++
		return
	}
	l.res.Requests++
	l.res.BodyBytes += c.resp.body
}

// ended handles the end of c's stream, in order or by a reset.
func (l *loop) ended(c *conn) {
	switch {
	case c.state == lingering:
		l.inFlight--
		l.drop(c)
		l.ready(c, l.now())
	case c.state == idle:
		// In the open loop c sits among the free connections; sending reopens it.
		l.drop(c)
		l.reconnected()
	case c.resp.finish() && c.state == receiving:
		if l.complete(c) {
			l.ended(c)
		}
	case c.served > 0 && !c.resp.started() && !l.load.raw():
		// The proxy closed a kept-alive connection while the request was on its way: RFC 9110 9.2.2
		// asks the client to try again. The time lost stays in this request's latency.
		startedAt := c.startedAt
		l.inFlight--
		l.drop(c)
		l.reconnected()
		l.send(c, startedAt)
	default:
		l.fail(c, l.now(), &l.res.Errors.Broken)
	}
}

func (l *loop) reconnected() {
	if l.opened != 0 && l.closes == 0 {
		l.res.Reconnects++
	}
}

// garbage handles bytes that belong to no response.
func (l *loop) garbage(c *conn) {
	if c.state == lingering {
		l.fail(c, l.now(), &l.res.Errors.Format)
		return
	}
	l.failed++
	if l.counts(l.now()) {
		l.res.Errors.Format++
	}
	l.drop(c)
}

// fail ends the request on c as wrong and lets c start again after a pause.
func (l *loop) fail(c *conn, now int64, kind *int64) {
	l.record(c, now, kind)
	l.inFlight--
	l.drop(c)
	c.retryAt = now + retryPause
}

// drop closes c without counting anything.
func (l *loop) drop(c *conn) {
	if c.fd >= 0 {
		rawClose(c.fd)
	}
	c.fd, c.state = -1, closed
}
