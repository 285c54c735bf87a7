package forwarded

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// setClientCert applies forward_client_cert_details to x-forwarded-client-cert (RT-103). Without a
// certificate of the client nobody but ALWAYS_FORWARD_ONLY believes what the field says, and there is
// nothing to add to it. Whether the certificate holds is the filter chain's to decide, before.
func (p *Policy) setClientCert(h *header.Head, in *Facts) {
	mode := p.conf.ForwardClientCert
	if mode == conf.ClientCertAlwaysForwardOnly {
		return
	}
	if mode == conf.ClientCertSanitize || in.Secure == nil || !in.Secure.Presented() {
		h.Remove(header.XForwardedClientCert)
		return
	}
	out := in.Scratch[:0]
	switch mode {
	case conf.ClientCertForwardOnly:
		return
	case conf.ClientCertAppendForward:
		out = appendClientCerts(out, h)
	}
	h.Set(header.XForwardedClientCert, in.Secure.AppendXFCCElement(out, p.clientCert))
}

// appendClientCerts appends the elements that came with the request, and a comma behind them. A list
// spread over several fields becomes one, so that an upstream that reads a single field cannot be shown
// only the client's part; a field with a quote left open is left out, for it would swallow what follows.
func appendClientCerts(dst []byte, h *header.Head) []byte {
	for i := h.Index(header.XForwardedClientCert); i >= 0; i = h.Next(i) {
		if v := h.Bytes(h.Fields[i].Value); len(v) > 0 && quotesClose(v) {
			dst = append(append(dst, v...), ',')
		}
	}
	return dst
}

// quotesClose says whether each quoted value of v ends; within one, a backslash escapes a character.
func quotesClose(v []byte) bool {
	quoted := false
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] == '"':
			quoted = !quoted
		case v[i] == '\\' && quoted:
			i++
		}
	}
	return !quoted
}
