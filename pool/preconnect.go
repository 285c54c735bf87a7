package pool

// Preconnect says how far a pool is ahead of its requests (Cluster.preconnect_policy).
type Preconnect interface {
	// Ratio is how many requests there should be connections for, for each that there is; not above 1: for
	// those alone. It is asked on the loop with every request, so that a host that is not well gets no
	// connection it does not need.
	Ratio() float64
}

// maxPreconnects is how many connections one request may have dialled ahead of those to come.
const maxPreconnects = 3

// preconnect dials for requests to come, once a request has been taken care of. Only requests make it dial:
// a host that refuses connections is not asked again and again.
func (p *Pool) preconnect() {
	ratio := p.o.Preconnect.Ratio()
	for range maxPreconnects {
		if p.stopped || p.draining || !ahead(ratio, p.waiting.len+p.active, p.connecting+p.idle+p.active) || !p.mayDial() {
			return
		}
		p.dial()
	}
}

func (p *Pool) mayDial() bool {
	if p.o.Breaker.TryConnection(p.connecting+p.idle+p.active == 0) {
		return true
	}
	p.o.Events.OnConnectionOverflow()
	return false
}

// preconnect is Pool.preconnect for streams: a connection counts as many as it takes.
func (p *Mux) preconnect() {
	ratio := p.o.Preconnect.Ratio()
	for range maxPreconnects {
		if p.stopped || p.draining || !ahead(ratio, p.waiting.len+p.streams, p.room()+p.streams) || !p.mayDial() {
			return
		}
		p.dial()
	}
}

func (p *Mux) mayDial() bool {
	if p.o.Breaker.TryConnection(p.conns == 0) {
		return true
	}
	p.o.Events.OnConnectionOverflow()
	return false
}

// room is how many more streams the connections take, those included that are not up. O(connections).
func (p *Mux) room() (n int) {
	for c := p.all; c != nil; c = c.next {
		switch c.state {
		case muxConnecting:
			n += p.assumed()
		case muxReady, muxBusy:
			n += max(0, c.limit-c.streams)
		}
	}
	return n
}

// ahead says whether there are too few places for that many requests.
func ahead(ratio float64, requests, places int) bool {
	return ratio > 1 && float64(requests)*ratio > float64(places)
}
