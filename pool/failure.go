package pool

import "github.com/sluiceproxy/sluice/engine"

// afterClose deals with the requests that wait, once a connection is gone.
func (p *Pool) afterClose(was connState, r engine.CloseReason, err error) {
	switch {
	case r == engine.LoopStopped:
		p.stopped = true
		p.fail(p.waiting.len, Closed, nil)
	case was == connecting:
		p.fail(p.stranded(), failureOf(r), err)
		p.grow()
	default:
		p.grow()
	}
}

// stranded returns how many waiting requests fail with a connection that did not
// come up: those for which no other one is on the way. When nothing is left that
// could serve anybody, all of them, so that they may try another host at once.
func (p *Pool) stranded() int {
	if p.connecting+p.idle+p.active == 0 {
		return p.waiting.len
	}
	if p.waiting.len > p.connecting+p.idle {
		return 1
	}
	return 0
}

// fail answers the n requests that waited longest. Those that join while owners
// are being told are not touched.
func (p *Pool) fail(n int, f Failure, err error) {
	end := p.waiting.entered
	for ; n > 0 && p.waiting.len > 0 && p.waiting.head.ordinal < end; n-- {
		p.nextWaiting().Owner.OnPoolFailure(f, err)
	}
}

func failureOf(r engine.CloseReason) Failure {
	switch r {
	case engine.ConnectTimeout:
		return ConnectTimeout
	case engine.FDLimit, engine.HandshakeShed, engine.BindFailed:
		return LocalConnectFailure
	}
	return ConnectFailure
}

// errOf returns why a connection ended, in the words of what encrypted it.
func (o *Options) errOf(ec *engine.Conn, r engine.CloseReason) error {
	if o.Secure != nil {
		return o.Secure.Broken(ec, r)
	}
	return ec.Err()
}
