package forwarded

import (
	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// ResponseFacts are what Policy.Response needs beside the head. Not kept.
type ResponseFacts struct {
	// Request is the request after Policy.Request; nil when none could be read.
	Request *header.Head
	// Date is the text of a Date field for now (RFC 9110 5.6.7), made once a second by the caller.
	Date []byte
}

// Response writes the connection manager's own response fields: via, server, date and, when
// configured, the request's id (RT-99, RT-104).
func (p *Policy) Response(h *header.Head, in *ResponseFacts) {
	if p.conf.Via != "" {
		appendVia(h, p.conf.Via)
	}
	switch p.conf.ServerHeaderTransformation {
	case conf.ServerOverwrite:
		h.SetString(header.Server, p.conf.ServerName)
	case conf.ServerAppendIfAbsent:
		if !h.Has(header.Server) {
			h.SetString(header.Server, p.conf.ServerName)
		}
	case conf.ServerPassThrough:
	}
	if !h.Has(header.Date) {
		h.Set(header.Date, in.Date)
	}
	if p.conf.AlwaysSetRequestIDInResp && in.Request != nil {
		if id := in.Request.Get(header.XRequestID); len(id) > 0 {
			h.Set(header.XRequestID, id)
		}
	}
}
