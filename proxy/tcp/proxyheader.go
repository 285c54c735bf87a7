package tcp

import (
	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
	"github.com/sluiceproxy/sluice/proxy/worker"
)

// proxyHeader returns the PROXY header that begins the upstream connection (TCP-19): the ends of the
// downstream one, and the TLVs the cluster lets through. Valid until the next call on this loop.
func (s *session) proxyHeader(p *conf.UpstreamProxyProtocol) []byte {
	a, from, to := s.a, s.facts.Remote, s.facts.Local
	if !p.Version2 {
		a.text = proxyproto.AppendV1(a.text[:0], from, to)
		return a.text
	}
	a.tlvs = s.upstreamTLVs(a.tlvs[:0], p)
	command := proxyproto.Proxy
	if !from.IsValid() || !to.IsValid() { // a unix socket
		command = proxyproto.Local
	}
	a.text = proxyproto.AppendV2(a.text[:0], command, from, to, a.tlvs)
	return a.text
}

// upstreamTLVs appends the cluster's own TLVs, then those of the session that the cluster passes on and
// does not have itself.
func (s *session) upstreamTLVs(dst []byte, p *conf.UpstreamProxyProtocol) []byte {
	own := s.upstream.TLVs(p)
	for i := range own {
		dst = s.appendTLV(dst, &own[i])
	}
	added := len(dst)
	passes := func(kind uint8) bool { return p.PassThrough.Has(kind) && !hasTLV(dst[:added], kind) }
	var received proxyproto.TLVs
	if s.facts.Extra != nil {
		received = s.facts.Extra.TLVs
	}
	policy := s.cfg.conf.TLVMerge
	it := received
	for kind, value, ok := it.Next(); ok; kind, value, ok = it.Next() {
		if passes(kind) && !(policy == conf.TLVOverwrite && s.hasOwn(kind)) {
			dst = proxyproto.AppendTLV(dst, kind, value)
		}
	}
	for i := range s.cfg.tlvs {
		t := &s.cfg.tlvs[i]
		if passes(t.Kind) && !(policy == conf.TLVAddIfAbsent && hasTLV(received, t.Kind)) {
			dst = s.appendTLV(dst, t)
		}
	}
	return dst
}

// appendTLV appends one of the configuration's. A formatted value that comes out empty is left out.
func (s *session) appendTLV(dst []byte, t *worker.TLV) []byte {
	if t.Format == nil {
		return proxyproto.AppendTLV(dst, t.Kind, t.Value)
	}
	s.describe(streaminfo.NotSet)
	s.a.value = t.Format.Append(s.a.value[:0], &s.a.info)
	if len(s.a.value) == 0 {
		return dst
	}
	return proxyproto.AppendTLV(dst, t.Kind, s.a.value)
}

// hasOwn says whether the filter's configuration has a TLV of the kind.
func (s *session) hasOwn(kind uint8) bool {
	for i := range s.cfg.tlvs {
		if s.cfg.tlvs[i].Kind == kind {
			return true
		}
	}
	return false
}

func hasTLV(list proxyproto.TLVs, kind uint8) bool {
	for k, _, ok := list.Next(); ok; k, _, ok = list.Next() {
		if k == kind {
			return true
		}
	}
	return false
}
