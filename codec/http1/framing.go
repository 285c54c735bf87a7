package http1

import (
	"github.com/sluiceproxy/sluice/codec/header"
)

// requestFraming works out how the body of a request ends and whether the connection lives on
// (RFC 9112 6.3, HC-20 to HC-28, HC-36).
func requestFraming(o *Options, h *header.Head) Err {
	h.Transfer = header.NoBody
	if e := bodyFraming(o, h, h.Method == header.MethodConnect); e != OK {
		return e
	}
	if h.Method == header.MethodConnect {
		if h.ContentLength > 0 {
			return ErrConnectBody
		}
		h.Remove(header.ContentLength)
		h.ContentLength = -1
	}
	persistence(h)
	if i := h.Index(header.Expect); i >= 0 && h.Version == header.HTTP11 {
		h.Expect100 = h.Next(i) < 0 && header.EqualFold(h.Bytes(h.Fields[i].Value), "100-continue")
	}
	return OK
}

// bodyFraming reads Content-Length and Transfer-Encoding into ContentLength and Transfer.
func bodyFraming(o *Options, h *header.Head, noCoding bool) Err {
	length, coding := h.Index(header.ContentLength), h.Index(header.TransferEncoding)
	if length < 0 && coding < 0 {
		return OK
	}
	if coding >= 0 && h.Version == header.HTTP10 {
		return ErrTransferEncoding10
	}
	if length >= 0 {
		if h.Next(length) >= 0 {
			return ErrContentLength
		}
		n := header.ParseLength(h.Bytes(h.Fields[length].Value))
		if n < 0 {
			return ErrContentLength
		}
		h.ContentLength = n
		if n > 0 {
			h.Transfer = header.Length
		}
	}
	if coding < 0 {
		return OK
	}
	chunked := h.Next(coding) < 0 && header.EqualFold(h.Bytes(h.Fields[coding].Value), "chunked") && !noCoding
	if length >= 0 {
		if !o.AllowChunkedLength || !chunked {
			return ErrLengthAndChunked
		}
		h.Remove(header.ContentLength)
		h.ContentLength = -1
	}
	if !chunked {
		return ErrTransferEncoding
	}
	h.Transfer = header.Chunked
	return OK
}

// persistence sets Close and HasUpgrade from Connection (HC-36). Proxy-Connection counts for nothing.
func persistence(h *header.Head) {
	var options connectionOptions
	for i := h.Index(header.Connection); i >= 0; i = h.Next(i) {
		options |= listedOptions(h.Bytes(h.Fields[i].Value))
	}
	if h.Version == header.HTTP10 {
		h.Close = options&optionClose != 0 || options&optionKeepAlive == 0
		return // RFC 9110 7.8: Upgrade in an HTTP/1.0 message is ignored
	}
	h.Close = options&optionClose != 0
	h.HasUpgrade = options&optionUpgrade != 0 && h.Has(header.Upgrade)
}

type connectionOptions uint8

const (
	optionClose connectionOptions = 1 << iota
	optionKeepAlive
	optionUpgrade
)

// listedOptions reads one Connection value. The spellings nearly everyone sends are compared whole.
func listedOptions(list []byte) (options connectionOptions) {
	switch string(list) {
	case "keep-alive":
		return optionKeepAlive
	case "close":
		return optionClose
	case "Upgrade":
		return optionUpgrade
	}
	for len(list) > 0 {
		var token []byte
		token, list = nextToken(list)
		switch {
		case header.EqualFold(token, "close"):
			options |= optionClose
		case header.EqualFold(token, "keep-alive"):
			options |= optionKeepAlive
		case header.EqualFold(token, "upgrade"):
			options |= optionUpgrade
		}
	}
	return options
}
