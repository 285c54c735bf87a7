package tlsio

import (
	"crypto/tls"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/engine"
)

// Options bound what handshakes may take. The zero value is usable.
type Options struct {
	// MaxHandshakes bounds the handshakes between a whole ClientHello (dialled: the
	// start) and their end, each of which takes about 25 KiB; further ones are closed with
	// HandshakeShed. 0 means 4096.
	MaxHandshakes int

	// Workers is how many handshakes compute at the same time; 0 means GOMAXPROCS.
	// The others wait for a turn. Callbacks of a tls.Config (GetCertificate,
	// GetConfigForClient, VerifyConnection...) run within a turn, off the loops and
	// concurrently: one that waits for something holds up the others.
	Workers int
}

const defaultMaxHandshakes = 4096

// Layer starts TLS on connections and counts handshakes. One serves all loops; its
// methods are called on the loop of the connection they get.
type Layer struct {
	maxHandshakes int64
	turns         chan struct{} // one token per running handshake

	started, completed, resumed, failed, timedOut, shed atomic.Uint64

	open, busy atomic.Int64
}

// New returns a Layer.
func New(o Options) *Layer {
	if o.MaxHandshakes <= 0 {
		o.MaxHandshakes = defaultMaxHandshakes
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return &Layer{maxHandshakes: int64(o.MaxHandshakes), turns: make(chan struct{}, o.Workers)}
}

// Server makes an accepted connection a TLS server: in OnAccept, or later with a
// ClientHello that is kept unconsumed (a handler that only looked at it). OnConnected
// follows when the handshake is done, or OnClosed: HandshakeFailed, HandshakeTimeout
// after timeout (0: no bound), HandshakeShed, or one that any connection may end
// with. Nothing when c has ended.
//
// config is shared by all loops and must not change. Session tickets work, with keys
// that crypto/tls rotates, as long as it is the same config: a GetConfigForClient
// that makes a new one per call breaks resumption.
func (l *Layer) Server(c *engine.Conn, config *tls.Config, timeout time.Duration) {
	l.begin(c, config, nil, false, timeout)
}

// Client makes a dialled connection a TLS client: after Dial, or once it is up and
// nothing waits to be written (then OnConnected comes a second time). It is up when
// the handshake is done, within DialSpec.Timeout if that is set, else timeout (0: no
// bound; ConnectTimeout either way). config needs a ServerName or InsecureSkipVerify;
// a ClientSessionCache in it makes resumption work.
func (l *Layer) Client(c *engine.Conn, config *tls.Config, timeout time.Duration) {
	l.ClientAfter(c, nil, config, timeout)
}

// ClientAfter is Client with bytes that go out as they are ahead of the handshake, such as a PROXY header;
// they are copied.
func (l *Layer) ClientAfter(c *engine.Conn, preface []byte, config *tls.Config, timeout time.Duration) {
	if config.Renegotiation != tls.RenegotiateNever {
		config = config.Clone()
		config.Renegotiation = tls.RenegotiateNever // a handshake in mid-stream would be on the loop
	}
	l.begin(c, config, preface, true, timeout)
}

func (l *Layer) begin(c *engine.Conn, config *tls.Config, preface []byte, client bool, timeout time.Duration) {
	s := &stream{layer: l, loop: c.Loop(), conn: c}
	s.opening = &handshake{config: config, client: client, out: append([]byte(nil), preface...)}
	if c.SetTransform(s, timeout) {
		l.started.Add(1)
		l.open.Add(1)
	}
}

// State returns what was negotiated: version, cipher, ALPN protocol, server name,
// certificates. It is nil for plain connections and before the handshake is done.
// The first call allocates it, the others return the same; also valid in OnClosed.
func State(c *engine.Conn) *tls.ConnectionState {
	s, _ := c.Transform().(*stream)
	if s == nil || s.opening != nil {
		return nil
	}
	if s.state == nil {
		state := s.tls.ConnectionState()
		s.state = &state
	}
	return s.state
}

// Counters are totals of a Layer since it was made, but for the last two. Each
// handshake that started ends as one of completed, failed, timed out and shed.
type Counters struct {
	Started   uint64
	Completed uint64
	Resumed   uint64 // of the completed
	Failed    uint64 // refused by either side, or the connection ended first
	TimedOut  uint64
	Shed      uint64

	Open int // started and not ended
	Busy int // of these, past their ClientHello: each has a goroutine
}

// Counters reads the counters. Any goroutine.
func (l *Layer) Counters() Counters {
	return Counters{
		Started: l.started.Load(), Completed: l.completed.Load(), Resumed: l.resumed.Load(),
		Failed: l.failed.Load(), TimedOut: l.timedOut.Load(), Shed: l.shed.Load(),
		Open: int(l.open.Load()), Busy: int(l.busy.Load()),
	}
}

// ended counts the end of a handshake that did not complete.
func (l *Layer) ended(r engine.CloseReason) {
	l.open.Add(-1)
	switch r {
	case engine.HandshakeTimeout, engine.ConnectTimeout:
		l.timedOut.Add(1)
	case engine.HandshakeShed:
		l.shed.Add(1)
	default:
		l.failed.Add(1)
	}
}
