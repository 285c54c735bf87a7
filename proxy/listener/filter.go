package listener

import (
	"errors"
	"unicode/utf8"

	"github.com/sluiceproxy/sluice/codec/proxyproto"
	"github.com/sluiceproxy/sluice/codec/sniff"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// filter is one listener filter, shared by all loops. Immutable.
type filter interface {
	// keepBytes is the most bytes it may have to see at once.
	keepBytes() int
	// look sees every byte that came and no filter before consumed; view may be empty, and grows from
	// call to call. It says how many bytes it consumes, which it may do only with pass.
	look(f *front, view []byte) (used int, v verdict)
}

type verdict uint8

const (
	wait   verdict = iota // for more bytes
	pass                  // on to the next filter
	refuse                // close the connection
)

func compileFilter(c *conf.ListenerFilter, r *stats.Registry) (filter, error) {
	switch {
	case c.TLSInspector != nil:
		return &tlsInspector{conf: c.TLSInspector, stats: stats.NewTLSInspectorStats(r)}, nil
	case c.HTTPInspector != nil:
		return &httpInspector{stats: stats.NewHTTPInspectorStats(r)}, nil
	case c.ProxyProtocol != nil:
		return newProxyHeader(c.ProxyProtocol, r), nil
	case c.OriginalDst != nil:
		return originalDst{}, nil
	}
	return nil, errors.New("is no filter")
}

// tlsInspector reads the ClientHello: server name, protocols and fingerprints.
type tlsInspector struct {
	conf  *conf.TLSInspector
	stats *stats.TLSInspectorStats
}

func (t *tlsInspector) maxBytes() int {
	if n := int(t.conf.MaxClientHelloBytes); n > 0 {
		return n
	}
	return sniff.DefaultMaxHelloBytes
}

// keepBytes has room for the record headers of a hello that came in many records.
func (t *tlsInspector) keepBytes() int { return t.maxBytes() + 4096 }

func (t *tlsInspector) look(f *front, view []byte) (int, verdict) {
	if len(view) == 0 {
		return 0, wait
	}
	sh, h := f.a.w.Stats, &f.a.hello
	st := sniff.ParseClientHello(view, t.maxBytes(), h)
	switch st {
	case sniff.NeedMore:
		if len(view) < t.keepBytes() {
			return 0, wait
		}
		st = sniff.TooLarge // a hello in records of a few bytes each
		fallthrough
	case sniff.TooLarge:
		sh.Inc(t.stats.ClientHelloTooLarge)
		return 0, refuse
	case sniff.Malformed:
		if t.conf.CloseOnParseErrors {
			return 0, refuse
		}
	}
	x := f.extra()
	if st != sniff.TLS {
		sh.Inc(t.stats.TLSNotFound)
		x.Transport = conf.TransportRawBuffer
		return 0, pass
	}
	sh.Inc(t.stats.TLSFound)
	sh.Record(t.stats.BytesProcessed, uint64(h.Size))
	x.Transport = conf.TransportTLS
	x.ServerName = append(x.ServerName[:0], h.ServerName()...)
	x.ALPN = x.ALPN[:0]
	list := h.Protocols()
	for name, ok := list.Next(); ok; name, ok = list.Next() {
		x.ALPN = append(append(x.ALPN, byte(len(name))), name...)
	}
	count(sh, len(x.ServerName) > 0, t.stats.SNIFound, t.stats.SNINotFound)
	count(sh, len(x.ALPN) > 0, t.stats.ALPNFound, t.stats.ALPNNotFound)
	if t.conf.JA3 {
		x.JA3 = h.JA3(x.JA3[:0])
	}
	if t.conf.JA4 {
		x.JA4 = h.JA4(x.JA4[:0])
	}
	return 0, pass
}

func count(sh *stats.Shard, found bool, yes, no stats.Counter) {
	if found {
		sh.Inc(yes)
	} else {
		sh.Inc(no)
	}
}

// httpInspector tells HTTP by its first line, on connections that are not TLS.
type httpInspector struct{ stats *stats.HTTPInspectorStats }

func (*httpInspector) keepBytes() int { return sniff.DefaultMaxLineBytes }

func (p *httpInspector) look(f *front, view []byte) (int, verdict) {
	if x := f.facts.Extra; x != nil && x.Transport == conf.TransportTLS {
		return 0, pass
	}
	if len(view) == 0 {
		return 0, wait
	}
	sh := f.a.w.Stats
	switch sniff.DetectHTTP(view, f.seen, sniff.DefaultMaxLineBytes) {
	case sniff.Undecided:
		f.seen = len(view)
		return 0, wait
	case sniff.HTTP10:
		sh.Inc(p.stats.HTTP10Found)
		f.extra().AddALPN("http/1.0")
	case sniff.HTTP11:
		sh.Inc(p.stats.HTTP11Found)
		f.extra().AddALPN("http/1.1")
	case sniff.H2C:
		sh.Inc(p.stats.HTTP2Found)
		f.extra().AddALPN("h2c")
	case sniff.TooLong: // as Envoy: this is no beginning of anything
		return 0, refuse
	default:
		sh.Inc(p.stats.HTTPNotFound)
	}
	f.seen = 0
	return 0, pass
}

// originalDst restores the address the client connected to before a redirect (SO_ORIGINAL_DST).
type originalDst struct{}

func (originalDst) keepBytes() int { return 0 }

func (originalDst) look(f *front, _ []byte) (int, verdict) {
	if dst := f.c.OriginalDst(); dst.IsValid() && dst != f.facts.Local {
		f.replaceAddresses(f.facts.Remote, dst)
	}
	return 0, pass
}

// proxyHeader takes the PROXY header off and believes its addresses (TCP-71).
type proxyHeader struct {
	conf  *conf.ProxyProtocol
	stats *stats.ProxyProtocolStats
	keys  []string // of filter state, by rule
}

// tlvObject is the filter state object that Envoy keeps TLVs in; each is a field of it.
const tlvObject = "envoy.network.proxy_protocol.tlv:"

func newProxyHeader(c *conf.ProxyProtocol, r *stats.Registry) *proxyHeader {
	p := &proxyHeader{conf: c, stats: stats.NewProxyProtocolStats(r, c.StatPrefix)}
	for i := range c.Rules {
		p.keys = append(p.keys, tlvObject+c.Rules[i].Key)
	}
	return p
}

// maxTLVBytes bounds the addresses and TLVs of a version 2 header; more is malformed.
const maxTLVBytes = 16 << 10

func (*proxyHeader) keepBytes() int { return maxTLVBytes + 16 }

func (p *proxyHeader) look(f *front, view []byte) (int, verdict) {
	if len(view) == 0 {
		return 0, wait
	}
	sh, h := f.a.w.Stats, &f.a.header
	n, st := proxyproto.Parse(view, maxTLVBytes, h)
	switch st {
	case proxyproto.NeedMore:
		return 0, wait
	case proxyproto.NotProxy:
		if !p.conf.AllowWithout {
			sh.Inc(p.stats.NotFoundDisallowed)
			return 0, refuse
		}
		sh.Inc(p.stats.NotFoundAllowed)
		return 0, pass
	case proxyproto.Malformed, proxyproto.TooLarge:
		count(sh, h.Version == 1, p.stats.V1Error, p.stats.V2Error)
		return 0, refuse
	}
	v1 := h.Version == 1
	if v1 && p.conf.DisallowV1 || !v1 && p.conf.DisallowV2 {
		count(sh, v1, p.stats.V1Disallowed, p.stats.V2Disallowed)
		return 0, refuse
	}
	count(sh, v1, p.stats.V1Found, p.stats.V2Found)
	if !h.Local {
		f.replaceAddresses(h.Source, h.Destination)
	}
	p.store(f, h)
	return n, pass
}

// store keeps the TLVs that rules ask for, and those that may go on to an upstream.
func (p *proxyHeader) store(f *front, h *proxyproto.Header) {
	if len(h.TLVs) == 0 || len(p.conf.Rules) == 0 && !p.conf.PassThrough.All && len(p.conf.PassThrough.Types) == 0 {
		return
	}
	x := f.extra()
	it := h.TLVs
	for t, v, ok := it.Next(); ok; t, v, ok = it.Next() {
		for i := range p.conf.Rules {
			if r := &p.conf.Rules[i]; r.Type == t && p.conf.InFilterState {
				x.State.Set(p.keys[i], v, false)
			} else if r.Type == t {
				f.a.text = appendUTF8(f.a.text[:0], v)
				x.Metadata.Set(r.Namespace, r.Key, f.a.text)
			}
		}
		if p.conf.PassThrough.Has(t) {
			x.TLVs = proxyproto.AppendTLV(x.TLVs, t, v)
		}
	}
}

// appendUTF8 appends text with '!' for each byte that is not valid UTF-8, as metadata has it.
func appendUTF8(dst, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, '!')
		} else {
			dst = append(dst, text[:n]...)
		}
		text = text[n:]
	}
	return dst
}
