package relay

// What only tunnels need of a pump: an end that waits for the last byte, and word
// of its pauses. Cold.

// pending returns how many bytes were taken and are not yet in dst's socket. Not
// once dst is closed.
func (p *Pump) pending() int {
	n := p.dst.Buffered()
	if p.pipe != nil {
		n += p.pipe.Held()
	}
	return n
}

// seal takes no more from the source's socket; when all that was taken is in the
// destination's the pump ends with End, which may be within the call. It reports
// whether the pump was running.
func (p *Pump) seal() bool {
	if !p.active {
		return false
	}
	p.recall()
	if !p.sealed {
		p.sealed, p.ready = true, false
		if p.started { // else begin drains: this may be within OnData of the source
			p.drain()
		}
	}
	return true
}

// sourceClosed is seal for the source's OnClosed, after which the pump does not
// touch it any more.
func (p *Pump) sourceClosed() bool {
	begun := p.started
	running := p.seal()
	if running && !begun {
		p.drain()
	}
	p.src = nil
	return running
}

// drain is what follows sealing. What the engine keeps for the source is handed
// over whole: nobody comes back for it.
func (p *Pump) drain() {
	if !p.started {
		p.started = true
		p.dst.SetRawWriter(events{p})
	}
	if n := p.src.Kept(); n > 0 && !p.dst.WriteClosed() {
		p.takeKept(n)
	}
	p.resumed()
	if p.active && p.pending() == 0 {
		p.finish(End)
		return
	}
	p.stuck()
}

// stuck ends a turn in which the destination took less than there was.
func (p *Pump) stuck() {
	e, ok := p.done.(ends)
	if !ok || !p.started || p.pending() == 0 || p.dst.Connecting() {
		return
	}
	e.t.look()
	if !p.paused && !p.sealed {
		p.paused = true
		e.stuck(p)
	}
}

// resumed is the end of a pause, if there was one.
func (p *Pump) resumed() {
	if !p.paused {
		return
	}
	p.paused = false
	t := p.done.(ends).t
	t.owner.OnRelayResumed(t, p == &t.up)
}

// lookForReset finds out about a reset that reading would meet only once the
// destination has room again.
func (p *Pump) lookForReset() {
	if e, ok := p.done.(ends); ok && p == &e.t.up && p.src.PeerLost() {
		e.t.lost()
	}
}
