package origin

import "github.com/sluiceproxy/sluice/engine"

// echoer sends back what it gets, and ends the stream when the peer does. It copies, and for messages of
// spliceBytes and more splices from then on: in a benchmark the origin must cost less than the proxy.
// One for each loop; what a connection needs beyond it is a splicer.
type echoer struct{}

// spliceBytes is from where on splicing costs less than copying twice.
const spliceBytes = 16 << 10

// OnAccept implements engine.Acceptor.
func (echoer) OnAccept(*engine.Conn) engine.Handler { return echoer{} }

// OnConnected implements engine.Handler; accepted connections have no such event.
func (echoer) OnConnected(*engine.Conn) {}

// OnData implements engine.Handler.
func (echoer) OnData(c *engine.Conn, view []byte) int {
	c.Write(view)
	if c.Above() {
		c.PauseRead()
	}
	if len(view) >= spliceBytes {
		s := &splicer{conn: c}
		c.SetHandler(s)
		c.SetRawWriter(s)
		c.SetRawReader(s)
	}
	return len(view)
}

// OnWritable implements engine.Handler.
func (echoer) OnWritable(c *engine.Conn) { c.ResumeRead() }

// OnReadClosed implements engine.Handler.
func (echoer) OnReadClosed(c *engine.Conn) { c.CloseWrite() }

// OnClosed implements engine.Handler.
func (echoer) OnClosed(*engine.Conn, engine.CloseReason) {}

// splicer echoes through a pipe, which it has only while bytes are inside. It is the handler of its
// connection, and reads and writes raw. Where the kernel does not splice it goes back to copying.
type splicer struct {
	echoer
	conn  *engine.Conn
	pipe  *engine.Pipe
	waits bool // the socket had no room: it may have bytes that nobody read
}

const (
	spliceMost    = 1 << 20 // bounds one call; it is what a pipe holds
	splicesOfTurn = 4       // then other connections have theirs
)

// OnReadable implements engine.RawReader.
func (s *splicer) OnReadable(c *engine.Conn) {
	for range splicesOfTurn {
		if s.waits = !s.drain(); s.waits {
			return
		}
		if s.pipe = c.Loop().TakePipe(); s.pipe == nil {
			s.copyInstead()
			return
		}
		_, st := c.SpliceTo(s.pipe, spliceMost)
		switch st {
		case engine.IOMoved:
			continue
		case engine.IOEnd:
			c.CloseWrite()
		case engine.IORefused:
			s.copyInstead()
		}
		s.putPipe()
		return
	}
	c.ReadLater()
}

// OnRawWritable implements engine.RawWriter.
func (s *splicer) OnRawWritable(c *engine.Conn) {
	if s.waits && s.drain() {
		s.waits = false
		c.ReadLater()
	}
}

// drain writes what the pipe holds and reports whether nothing is left to be written.
func (s *splicer) drain() bool {
	if s.conn.WriteBlocked() {
		return false
	}
	for s.pipe != nil && s.pipe.Held() > 0 {
		switch _, st := s.conn.SpliceFrom(s.pipe); st {
		case engine.IORefused:
			s.conn.WriteFrom(s.pipe)
		case engine.IOAgain:
			return false
		case engine.IOFailed:
			s.conn.Reset()
			return false
		}
	}
	s.putPipe()
	return true
}

func (s *splicer) putPipe() {
	if s.pipe != nil {
		s.conn.Loop().PutPipe(s.pipe)
		s.pipe = nil
	}
}

func (s *splicer) copyInstead() {
	s.conn.SetHandler(echoer{})
	s.conn.SetRawReader(nil)
	s.conn.SetRawWriter(nil)
}

// OnClosed implements engine.Handler.
func (s *splicer) OnClosed(*engine.Conn, engine.CloseReason) { s.putPipe() }
