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

// seal takes no more from the source's socket. What the engine keeps for it is
// handed over whole, since nobody may come back for it; when all of it is in the
// destination's socket the pump ends with End, which may be within the call. It
// reports whether the pump was running.
func (p *Pump) seal() bool {
	if !p.active {
		return false
	}
	if p.sealed {
		return true
	}
	p.sealed, p.ready = true, false
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
	}
	return true
}

// sourceClosed is seal for the source's OnClosed, after which the pump does not
// touch it any more.
func (p *Pump) sourceClosed() bool {
	running := p.seal()
	p.src = nil
	return running
}

// stuck ends a turn in which the destination took less than there was.
func (p *Pump) stuck() {
	if p.paused || p.sealed || !p.started || p.pending() == 0 || p.dst.Connecting() {
		return
	}
	if e, ok := p.done.(ends); ok {
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
