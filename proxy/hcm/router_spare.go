package hcm

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// spare is an attempt beside the stream's own, with a response head and notes of its own: of a stream whose
// tries are at several hosts at the same time (hedging). Loop-owned, from the loop's free list.
type spare struct {
	attempt attempt
	head    header.Head
	notes   streaminfo.Info
	link    *spare // of the stream's tries, or of the free list
}

func (p *parts) spare() *spare {
	s := p.spares
	if s == nil {
		return new(spare)
	}
	p.spares, s.link = s.link, nil
	p.numSpares--
	return s
}

func (p *parts) putSpare(s *spare) {
	if p.numSpares >= maxKeptSpares {
		return
	}
	s.attempt.reset()
	s.head.Shrink()
	s.notes.Reset()
	s.link, p.spares = p.spares, s
	p.numSpares++
}

// adopt makes what a spare has noted the stream's, whose response it brings.
func (a *attempt) adopt() {
	st, s := a.st, a.own
	st.resp, s.head = s.head, st.resp
	st.info.TakeUpstream(&s.notes)
	a.resp, a.info = &st.resp, &st.info
	a.wireBefore += st.info.UpstreamWireReceived - s.notes.UpstreamWireReceived
	if w := a.watch; w != nil {
		w.before = countsOf(&st.info).minus(countsOf(&s.notes).minus(w.before))
	}
}

// lose adds what a spare has moved to the stream's counts.
func (a *attempt) lose() {
	if a.own == nil || a.info == &a.st.info {
		return
	}
	to, n := &a.st.info, a.info
	to.UpstreamWireSent += n.UpstreamWireSent
	to.UpstreamWireReceived += n.UpstreamWireReceived
	to.UpstreamHeaderBytesSent += n.UpstreamHeaderBytesSent
	to.UpstreamHeaderBytesReceived += n.UpstreamHeaderBytesReceived
	n.UpstreamWireSent, n.UpstreamWireReceived, n.UpstreamHeaderBytesSent, n.UpstreamHeaderBytesReceived = 0, 0, 0, 0
}
