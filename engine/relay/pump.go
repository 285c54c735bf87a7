package relay

import (
	"github.com/sluiceproxy/sluice/engine"
)

const (
	pieceBytes   = 16 << 10  // a copied read; filling it starts splicing
	smallBytes   = 4 << 10   // two spliced pieces in a row below this go back to copying
	turnBytes    = 256 << 10 // copied in one turn
	spliceBytes  = 1 << 20   // asked of one splice
	noLimit      = -1
	spliceTurn   = 4 << 20 // spliced in one turn
	spliceCharge = spliceTurn / turnBytes
	pieceCharge  = 2 << 10 // of a turn for a piece of any size
	pipelessFor  = 255     // full pieces copied after there was no pipe to be had
)

// Result says how a pump ended.
type Result uint8

const (
	// Limit: all the bytes asked for were handed to the destination.
	Limit Result = iota
	// End: the source ended (FIN) before the limit. Its OnReadClosed does not
	// follow: this is it.
	End
	// WriteFailed: the destination takes no more. Its OnClosed follows.
	WriteFailed
)

// String returns the constant's name.
func (r Result) String() string {
	switch r {
	case Limit:
		return "Limit"
	case End:
		return "End"
	case WriteFailed:
		return "WriteFailed"
	}
	return "Result(?)"
}

// PipeDone is told when a pump has ended; both connections are then back with
// their handlers. It may start the pump again.
type PipeDone interface{ OnPipeDone(p *Pump, r Result) }

// Pump moves bytes one way. The zero value is idle. Loop-owned; both connections
// are on the same loop. It must stay where it is while it runs.
type Pump struct {
	src, dst *engine.Conn // src is nil once it is closed
	left     int64        // bytes still to read, noLimit for all
	moved    uint64       // while passing less what src has read
	lastNs   int64        // when bytes last moved, by the loop's clock
	limit    int32        // most bytes taken and not yet in dst's socket

	active   bool
	started  bool  // the raw callbacks are set
	deferred bool  // Run follows at the safe point
	ready    bool  // the source may have bytes
	bulk     bool  // splice
	passing  bool  // src passes small pieces on by itself
	small    bool  // the last piece spliced was small
	noSplice bool  // the kernel refuses, or nobody wants it
	sealed   bool  // nothing more is taken from the source
	paused   bool  // a tunnel's owner was told that reading stopped
	pipeless uint8 // full pieces to copy before a pipe is asked for again

	pipe *engine.Pipe // while bytes are in it
	done PipeDone
}

// Pipe moves n bytes from src to dst (all until its end when n is negative), then
// gives both back and tells done. Kept bytes of src go first. It allocates a
// Pump: embed one and Start it where that matters.
func Pipe(src, dst *engine.Conn, n int64, done PipeDone) *Pump {
	p := new(Pump)
	p.Start(src, dst, n, done)
	return p
}

// Start is Pipe on a pump of the caller. It may be called within OnData of src:
// the bytes that handler does not consume are moved first. src is resumed if it
// was paused. dst may still be connecting; it must not be corked. While the pump
// runs src's handler gets no OnData and no OnReadClosed, and whoever owns it
// calls Stop when OnClosed of either connection arrives.
func (p *Pump) Start(src, dst *engine.Conn, n int64, done PipeDone) {
	deferred := p.deferred
	p.set(src, dst, n, done, spliceBytes)
	p.deferred = true
	if !deferred {
		src.Loop().Defer(events{p})
	}
}

// set makes p ready to begin.
func (p *Pump) set(src, dst *engine.Conn, n int64, done PipeDone, limit int32) {
	if n < 0 {
		n = noLimit
	}
	*p = Pump{src: src, dst: dst, done: done, left: n, limit: limit, active: true, noSplice: p.noSplice}
}

// SetSplice forbids (false) or allows splicing, from the next Start on.
func (p *Pump) SetSplice(on bool) { p.noSplice = !on }

// Active reports whether the pump runs.
func (p *Pump) Active() bool { return p.active }

// Moved returns how many bytes were taken from the source since Start. All of
// them were handed to the destination, but for those a closed pipe held.
func (p *Pump) Moved() uint64 {
	if p.passing {
		return p.moved + p.src.BytesRead()
	}
	return p.moved
}

// LastMove returns when bytes last moved, on the loop's clock, give or take what its
// Stamp does; 0 before the first.
func (p *Pump) LastMove() int64 {
	if p.passing {
		return max(p.lastNs, p.src.LastPassed())
	}
	return p.lastNs
}

// Stop ends the pump with no call of done. Bytes still in its pipe are lost, so it
// is for when one end is closing. Kept bytes of src it has not come to stay there.
// Nothing when it is not running.
func (p *Pump) Stop() {
	if !p.active {
		return
	}
	p.recall()
	p.active = false
	if p.started {
		p.started = false
		if p.src != nil && !p.src.Closed() {
			p.src.SetRawReader(nil)
		}
		if !p.dst.Closed() {
			p.dst.SetRawWriter(nil)
		}
	}
	p.dropPipe()
	p.resumed()
}

func (p *Pump) dropPipe() {
	if p.pipe != nil {
		p.dst.Loop().PutPipe(p.pipe)
		p.pipe = nil
	}
}

// finish gives the connections back, then tells done.
func (p *Pump) finish(r Result) {
	p.Stop()
	if r == Limit && p.src.Kept() > 0 {
		p.src.ResumeRead() // what follows the limit is the handler's
	}
	if p.done != nil {
		p.done.OnPipeDone(p, r)
	}
}

// events keeps the engine's callbacks off Pump's method set.
type events struct{ p *Pump }

// Run begins, once the handler that called Start has returned.
func (e events) Run(*engine.Loop) {
	e.p.deferred = false
	e.p.begin()
}

func (p *Pump) begin() {
	if !p.active || p.src == nil || p.src.Closed() || p.dst.Closed() {
		return
	}
	if p.sealed {
		p.drain()
		return
	}
	p.src.ResumeRead()
	p.started = true
	p.dst.SetRawWriter(events{p})
	p.src.SetRawReader(events{p}) // OnReadable follows, but for an end that was read before
	p.ready = p.src.ReadClosed()
	p.pump()
}

func (p *Pump) count(n int) {
	p.moved += uint64(n)
	p.lastNs = p.dst.Loop().Now()
	if p.left > 0 {
		p.left -= int64(n)
	}
}

// OnReadable is the source's turn.
func (e events) OnReadable(*engine.Conn) {
	if p := e.p; !p.sealed {
		p.ready = true
		p.readable()
	}
}

// OnPassed is the source's turn after it has passed a piece on.
func (e events) OnPassed(_ *engine.Conn, n int, drained bool, st engine.IOState) {
	p := e.p
	p.recall()
	p.moved -= uint64(n) // copied counts it
	p.copied(n, drained, st)
	p.readable()
}

// readable moves bytes of a source that may have some.
func (p *Pump) readable() {
	p.pump()
	if p.started && p.dst.WriteBlocked() {
		p.lookForReset()
	}
}

// pass leaves what comes next to the engine, when nothing is to be done with it but
// to copy it: so most messages of interactive protocols do not touch the pump.
func (p *Pump) pass() {
	if p.bulk || p.left >= 0 || len(p.src.Loop().ReadBuffer()) > p.piece() {
		return
	}
	if p.passing = p.src.PassTo(p.dst, events{p}); p.passing {
		p.moved -= p.src.BytesRead()
	}
}

// recall ends pass.
func (p *Pump) recall() {
	if p.passing {
		p.moved, p.lastNs = p.Moved(), p.LastMove()
		p.passing = false
		p.src.EndPass()
	}
}

// OnRawWritable says that the destination has room again.
func (e events) OnRawWritable(*engine.Conn) { e.p.pump() }

// pump moves bytes until the source has none, the destination no room, or the
// turn is used up.
func (p *Pump) pump() {
	p.recall()
	for turn := turnBytes; p.started; {
		if p.dst.WriteClosed() {
			p.finish(WriteFailed)
			return
		}
		if p.pipe != nil && !p.empty() {
			p.stuck()
			return
		}
		if p.left == 0 {
			p.finish(Limit)
			return
		}
		if p.dst.WriteBlocked() {
			p.stuck()
			return
		}
		if p.paused {
			p.resumed()
			continue // whoever hears it may end the pump
		}
		if p.sealed {
			p.finish(End)
			return
		}
		kept := p.src.Kept() > 0
		if !kept && !p.ready {
			p.pass()
			return
		}
		if turn <= 0 && !p.src.ReadClosed() {
			p.src.ReadLater()
			return
		}
		switch {
		case kept:
			turn -= p.takeKept(p.piece())
		case p.bulk:
			turn -= p.splice() / spliceCharge
		default:
			turn -= p.copy()
		}
		turn -= pieceCharge
	}
}

// piece returns how many bytes may be copied at a time.
func (p *Pump) piece() int {
	n := int(min(pieceBytes, p.limit))
	if p.left >= 0 && int64(n) > p.left {
		n = int(p.left)
	}
	return n
}

// takeKept moves up to n of the bytes the engine keeps for the source.
func (p *Pump) takeKept(n int) int {
	n = min(n, p.src.Kept())
	p.dst.Write(p.src.KeptView()[:n])
	p.src.TakeKept(n)
	p.count(n)
	return n
}

// copy moves one piece through the loop's buffer.
func (p *Pump) copy() int {
	b := p.dst.Loop().ReadBuffer()
	return p.copied(p.src.Forward(p.dst, b[:min(len(b), p.piece())]))
}

// copied notes how moving a piece went, and returns its size.
func (p *Pump) copied(n int, drained bool, st engine.IOState) int {
	if st != engine.IOMoved {
		p.stalled(st)
		return 0
	}
	p.ready = !drained
	p.count(n)
	if n >= pieceBytes && !p.noSplice {
		if p.pipeless > 0 {
			p.pipeless--
		} else {
			p.bulk = true
		}
	}
	return n
}

// splice moves one piece into a pipe, and returns its size; empty moves it on.
func (p *Pump) splice() int {
	pipe := p.dst.Loop().TakePipe()
	if pipe == nil {
		p.bulk, p.pipeless = false, pipelessFor
		return 0
	}
	most := int(p.limit)
	if p.left >= 0 && int64(most) > p.left {
		most = int(p.left)
	}
	n, st := p.src.SpliceTo(pipe, most)
	if st != engine.IOMoved {
		p.dst.Loop().PutPipe(pipe)
		if st == engine.IORefused {
			p.refuse()
		} else {
			p.stalled(st)
		}
		return 0
	}
	p.pipe = pipe
	p.count(n)
	// One small piece may be the end of a write that the sender's kernel cut into segments.
	small := n < smallBytes
	p.bulk = !small || !p.small
	p.small = small && p.bulk
	return n
}

// refuse goes on by copying, for good.
func (p *Pump) refuse() { p.bulk, p.noSplice = false, true }

// empty moves what is in the pipe to the destination. It reports whether the pump
// may go on.
func (p *Pump) empty() bool {
	for p.pipe.Held() > 0 {
		if p.dst.WriteBlocked() {
			return false
		}
		switch _, st := p.dst.SpliceFrom(p.pipe); st {
		case engine.IOMoved:
			p.lastNs = p.dst.Loop().Now()
		case engine.IORefused:
			p.refuse()
			p.dst.WriteFrom(p.pipe)
		case engine.IOFailed:
			p.finish(WriteFailed)
			return false
		default:
			return false
		}
	}
	p.dropPipe()
	return true
}

// stalled handles a read that moved nothing.
func (p *Pump) stalled(st engine.IOState) {
	p.ready = false
	if st == engine.IOEnd {
		p.finish(End)
	}
	// IOAgain: OnReadable follows. IOFailed: OnClosed of the source does.
}
