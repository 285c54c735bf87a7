package tlsio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

var errNotTLS = errors.New("tlsio: the first bytes are no TLS handshake")

// handshake is what a stream needs until it is open. The stream and it belong to the
// loop, or while away to the goroutine that computes; they change hands by wake (to
// the goroutine) and a message (to the loop).
//
//	state                  event                      what follows
//	new                    a whole hello (client: at  goroutine starts -> away
//	                       once); busy at its bound   (HandshakeShed)
//	away                   no whole record left       giveBack -> parked
//	away                   done or failed             message: open, or HandshakeFailed
//	parked                 a whole record             wake -> away
//	new, parked            not TLS, FIN               HandshakeFailed
//	any                    connection closed          canceled; the goroutine ends at
//	                                                  its next read
type handshake struct {
	config        *tls.Config
	client        bool
	local, remote netip.AddrPort

	wake     chan struct{} // nil until there is a goroutine; never blocks the loop
	away     bool
	canceled atomic.Bool

	out  []byte // records to be sent
	done bool
	err  error
}

// Start collects the hello, or makes one.
func (s *stream) Start(c *engine.Conn, received []byte) {
	h := s.opening
	h.local, h.remote = c.LocalAddr(), c.RemoteAddr()
	if len(received) > 0 {
		s.in = s.loop.Slabs().Slab(len(received))
		s.in.Append(received)
	}
	if h.client {
		s.goOn(c)
		return
	}
	s.OnReady(c)
}

// OnReady sends what waits and collects what the handshake waits for. Nothing while
// it is away: the socket holds what comes meanwhile.
func (s *stream) OnReady(c *engine.Conn) {
	h := s.opening
	if h.away {
		return
	}
	if h.out = h.out[c.SendWire(h.out):]; c.Closed() {
		return
	}
	for {
		if h.wake == nil && s.in != nil && s.in.Len() > 0 && !plausible(s.in.Bytes()) {
			c.Fail(engine.HandshakeFailed, errNotTLS)
			return
		}
		if s.ready() {
			s.goOn(c)
			return
		}
		switch s.fill(c) {
		case engine.IOAgain:
			s.trim()
			return
		case engine.IOEnd:
			err := io.EOF // who connects and leaves is no news
			if c.BytesRead() > 0 {
				err = io.ErrUnexpectedEOF
			}
			c.Fail(engine.HandshakeFailed, err)
			return
		case engine.IOFailed:
			return
		}
	}
}

// ready reports whether the handshake can go on with what is in in.
func (s *stream) ready() bool {
	switch {
	case s.in == nil:
		return false
	case s.opening.wake == nil:
		return helloComplete(s.in.Bytes())
	}
	return s.record() > 0
}

// goOn lets the goroutine compute, the first time by starting it.
func (s *stream) goOn(c *engine.Conn) {
	h, l := s.opening, s.layer
	s.trim() // many may wait for a turn
	if h.wake != nil {
		h.away = true
		h.wake <- struct{}{}
		return
	}
	if l.busy.Add(1) > l.maxHandshakes {
		l.busy.Add(-1)
		c.Fail(engine.HandshakeShed, nil)
		return
	}
	if h.client {
		s.tls = tls.Client((*wire)(s), h.config)
	} else {
		s.tls = tls.Server((*wire)(s), h.config)
	}
	h.wake = make(chan struct{}, 1)
	h.away = true
	go s.compute()
}

// compute is the goroutine.
func (s *stream) compute() {
	h, l := s.opening, s.layer
	l.turns <- struct{}{}
	err := s.shake()
	<-l.turns
	h.done, h.err = true, err
	l.busy.Add(-1)
	s.post()
}

func (s *stream) shake() (err error) {
	defer func() {
		if p := recover(); p != nil { // a callback's; traffic must not end the process
			err = fmt.Errorf("tlsio: panic in a handshake: %v", p)
		}
	}()
	if s.opening.canceled.Load() {
		return net.ErrClosed
	}
	return s.tls.Handshake()
}

// giveBack gives the stream to the loop, and returns when it has it back with a whole
// record, or with an error when the connection is closed.
func (s *stream) giveBack() error {
	h, l := s.opening, s.layer
	<-l.turns
	s.post()
	<-h.wake
	l.turns <- struct{}{}
	if h.canceled.Load() {
		return net.ErrClosed
	}
	return nil
}

// post sends the stream to its loop. It is the loop's from here on.
func (s *stream) post() {
	for !s.loop.Post((*arrival)(s)) && !s.loop.Stopped() {
		time.Sleep(time.Millisecond) // the mailbox is full
	}
}

// arrival is a stream that comes back to its loop.
type arrival stream

// Run takes the stream over.
func (a *arrival) Run() {
	s := (*stream)(a)
	h, c := s.opening, s.conn
	h.away = false
	switch {
	case c == nil:
		s.free()
	case h.err != nil:
		c.SendWire(h.out) // the alert
		c.Fail(engine.HandshakeFailed, h.err)
	case h.done:
		rest := h.out[c.SendWire(h.out):]
		if c.Closed() {
			return
		}
		s.opening = nil
		s.layer.completed.Add(1)
		s.layer.open.Add(-1)
		if s.tls.ConnectionState().DidResume {
			s.layer.resumed.Add(1)
		}
		c.Established(rest)
	default:
		s.OnReady(c)
	}
}

// cancel makes the goroutine end, if there is one. It reports whether it has the
// stream now.
func (s *stream) cancel() bool {
	h := s.opening
	if h.wake == nil {
		return false
	}
	h.canceled.Store(true)
	select {
	case h.wake <- struct{}{}:
	default: // a token is there that it has yet to take
	}
	return h.away
}
