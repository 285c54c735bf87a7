package http1

import "github.com/sluiceproxy/sluice/codec/header"

const (
	maxConnectionTokens = 10  // this many are refused (HC-35)
	maxNominatedTEBytes = 256 // a nominated TE value of this many bytes is refused (HC-35)
)

// StripHopByHop removes the fields that concern one connection only: those Connection nominates,
// Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade and HTTP2-Settings; TE becomes
// "trailers" when it lists that, and goes otherwise (RFC 9110 7.6.1, HC-35, RT-102).
//
// keepUpgrade leaves Upgrade and, with the options upgrade and keep-alive only, Connection (UP-3).
// request turns on the refusals of HC-35 (ErrConnectionHeader); a response is only stripped.
// Framing is not touched: Transfer and ContentLength of h stand. Allocates only to grow h.
func StripHopByHop(h *header.Head, request, keepUpgrade bool) Err {
	if h.Has(header.Connection) {
		if e := stripNominated(h, request, keepUpgrade); e != OK {
			return e
		}
	}
	if h.Has(header.TE) {
		reduceTE(h)
	}
	h.Remove(header.KeepAlive)
	h.Remove(header.ProxyConnection)
	h.Remove(header.TransferEncoding)
	if !keepUpgrade {
		h.Remove(header.Upgrade)
		h.Remove(header.HTTP2Settings)
	}
	return OK
}

func stripNominated(h *header.Head, request, keepUpgrade bool) Err {
	count := 0
	first := h.Index(header.Connection)
	rewrite := h.Next(first) >= 0
	for i := first; i >= 0; i = h.Next(i) {
		list := h.Bytes(h.Fields[i].Value)
		for len(list) > 0 {
			token := list
			if string(list) == "keep-alive" {
				list = nil // what nearly everyone sends
			} else if token, list = nextToken(list); len(token) == 0 {
				continue
			}
			if count++; request && (count >= maxConnectionTokens || refusedOption(h, token)) {
				return ErrConnectionHeader
			}
			switch header.Lookup(token) {
			case header.Upgrade, header.KeepAlive, header.Connection:
				// Upgrade goes or stays with keepUpgrade; the other two are removed in any case.
			case header.TE:
				rewrite = true // see reduceTE
			default:
				rewrite = true
				h.RemoveFold(token)
			}
		}
	}
	if !keepUpgrade || !h.Has(header.Upgrade) {
		h.Remove(header.Connection)
	} else if rewrite {
		h.SetString(header.Connection, "upgrade")
	}
	return OK
}

// refusedOption says whether a request may not nominate this name: pseudo-headers, what says who the
// client is, and a TE too long to be one (HC-35).
func refusedOption(h *header.Head, token []byte) bool {
	switch header.Lookup(token) {
	case header.XForwardedFor, header.XForwardedHost, header.XForwardedProto:
		return true
	case header.TE:
		return len(h.Get(header.TE)) >= maxNominatedTEBytes
	}
	return token[0] == ':'
}

// reduceTE keeps "trailers", the one member of TE that is not about this connection's codings.
func reduceTE(h *header.Head) {
	for i := h.Index(header.TE); i >= 0; i = h.Next(i) {
		list := h.Bytes(h.Fields[i].Value)
		for len(list) > 0 {
			var token []byte
			if token, list = nextToken(list); header.EqualFold(token, "trailers") {
				h.SetString(header.TE, "trailers")
				return
			}
		}
	}
	h.Remove(header.TE)
}
