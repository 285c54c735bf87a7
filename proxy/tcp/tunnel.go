package tcp

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/codec/http1"
	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/pool"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/route"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// tunneling is a compiled tunneling_config (tcp_proxy.md 7). Immutable.
type tunneling struct {
	conf    *conf.Tunneling
	host    *format.Formatter
	headers []tunnelHeader
}

type tunnelHeader struct {
	conf  conf.HeaderValue
	value *format.Formatter
}

func compileTunneling(c *conf.Tunneling) (*tunneling, error) {
	t := &tunneling{conf: c}
	var err error
	if t.host, err = format.CompileText(c.Hostname, true); err != nil {
		return nil, fmt.Errorf("hostname: %w", err)
	}
	for i, h := range c.Headers {
		f, err := format.Compile(h.Value)
		if err != nil {
			return nil, fmt.Errorf("headers_to_add[%d]: %w", i, err)
		}
		t.headers = append(t.headers, tunnelHeader{h, f})
	}
	return t, nil
}

// tunnels says whether the session's connection goes through a tunnel (TCP-43).
func (s *session) tunnels() bool {
	if s.cfg.tunnel == nil {
		return false
	}
	v, _ := s.facts.FilterState(streaminfo.KeyTCPDisableTunneling)
	return string(v) != "true"
}

// tunnelHead makes the request that asks for the tunnel (TCP-40); false when its host name is none.
func (s *session) tunnelHead() bool {
	t, h := s.cfg.tunnel, &s.a.request
	h.Reset(nil)
	s.describe(streaminfo.NotSet)
	s.a.text = t.host.Append(s.a.text[:0], &s.a.info)
	if !http1.ValidAuthority(s.a.text) {
		return false
	}
	h.Version, h.Transfer = header.HTTP11, header.Tunnel
	h.SetAuthority(s.a.text)
	h.SetMethod(header.MethodConnect, "CONNECT")
	if t.conf.UsePost {
		h.SetMethod(header.MethodPost, "POST")
		h.SetPath([]byte(t.conf.PostPath))
		h.SetScheme("http")
		if s.endpoint.Host.Secure != nil {
			h.SetScheme("https")
		}
	}
	for i := range t.headers {
		x := &t.headers[i]
		s.a.value = x.value.Append(s.a.value[:0], &s.a.info)
		route.ApplyHeader(h, &x.conf, s.a.value)
	}
	return true
}

// tunnelAnswered says whether a response makes the tunnel (TCP-41), and keeps what logs are to have of it.
func (s *session) tunnelAnswered(h *header.Head, exactly200 bool) bool {
	if s.cfg.tunnel.conf.PropagateHeaders {
		s.propagate(streaminfo.KeyTCPTunnelHeaders, h)
	}
	if h.Status/100 == 2 && (h.Status == 200 || !exactly200) {
		return true
	}
	s.failure = fmt.Sprintf("the tunnel was answered with %d", h.Status)
	return false
}

// propagate stores the fields of a head in the connection's filter state, as "name: value" joined with
// commas.
func (s *session) propagate(key string, h *header.Head) {
	if s.facts.Extra == nil {
		s.facts.Extra = s.a.w.Extra()
	}
	b := s.a.value[:0]
	if h.Status != 0 {
		b = fmt.Appendf(b, ":status: %d", h.Status)
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Dead {
			continue
		}
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		if f.ID != header.Unknown {
			b = append(b, f.ID.String()...)
		} else {
			b = append(b, h.Bytes(f.Name)...)
		}
		b = append(append(b, ": "...), h.Bytes(f.Value)...)
	}
	s.a.value = b
	s.facts.Extra.State.Set(key, b, false)
}

// refused makes the next attempt after a tunnel that was not answered with success: a connect failure.
func (s *session) refused() {
	s.attemptFailed(reason.TunnelRefused)
}

// h1Tunnel is a session that waits for the answer to its CONNECT or POST over HTTP/1, and the handler of
// the upstream connection meanwhile.
type h1Tunnel session

// ask sends the request over a connection of the session's own.
func (t *h1Tunnel) ask(up *pool.Conn) {
	s := (*session)(t)
	s.up, s.state = up, asking
	s.upID = up.ID()
	up.SetHandler(t)
	if !s.tunnelHead() {
		t.giveUp("the host name of the tunnel is not valid")
		return
	}
	s.a.text = http1.AppendRequestHead(s.a.text[:0], &s.a.request, http1.Framing{
		Version: header.HTTP11, Transfer: header.Tunnel, Case: s.upstream.HeaderCase,
	})
	up.SetReadLimit(s.upstream.Parse.MaxHeadBytes + 4096)
	up.Write(s.a.text)
}

// giveUp ends the attempt.
func (t *h1Tunnel) giveUp(why string) {
	s := (*session)(t)
	if why != "" {
		s.failure = why
	}
	up := s.up
	s.up = nil
	s.noteUpstream(up.Conn)
	up.Abort()
	s.refused()
}

// OnConnected never happens: the connection is up.
func (t *h1Tunnel) OnConnected(*engine.Conn) {}

// OnData reads the answer; what follows it is the tunnel's.
func (t *h1Tunnel) OnData(_ *engine.Conn, view []byte) int {
	s := (*session)(t)
	method := header.MethodConnect
	if s.cfg.tunnel.conf.UsePost {
		method = header.MethodPost
	}
	used := 0
	for {
		h := &s.a.response
		n, e := http1.ParseResponse(view[used:], 0, &s.upstream.Parse, http1.RequestInfo{Method: method}, h)
		switch {
		case e != 0:
			t.giveUp(e.String())
			return len(view)
		case n == 0:
			return used
		}
		used += n
		if h.Status < 200 {
			continue
		}
		switch {
		case !s.tunnelAnswered(h, false):
			t.giveUp("")
			return len(view)
		case h.Transfer != header.Tunnel && h.Transfer != header.UntilClose:
			t.giveUp("the answer to the tunnel has a body with framing")
			return len(view)
		}
		if s.c.Connecting() { // in its TLS handshake
			s.state = handshaking
			s.up.SetHandler((*upstreamWait)(s))
			return used
		}
		s.startRelay(s.up)
		return used
	}
}

// OnReadClosed ends the attempt: there will be no answer.
func (t *h1Tunnel) OnReadClosed(*engine.Conn) {
	t.giveUp("the upstream ended before the tunnel was there")
}

// OnWritable never matters.
func (t *h1Tunnel) OnWritable(*engine.Conn) {}

// OnClosed ends the attempt.
func (t *h1Tunnel) OnClosed(c *engine.Conn, _ engine.CloseReason) {
	s := (*session)(t)
	s.noteUpstream(c)
	s.up = nil
	s.failure = "the upstream closed before the tunnel was there"
	s.refused()
}
