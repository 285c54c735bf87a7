package http1

import (
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
)

// Continue100 is the interim response the proxy answers an expectation with (HC-39).
const Continue100 = "HTTP/1.1 100 Continue\r\n\r\n"

// HeaderCase is Envoy's header_key_format (HC-52).
type HeaderCase uint8

const (
	// LowerCase writes every name in lower case.
	LowerCase HeaderCase = iota
	// ProperCase capitalises the first letter and every letter after a byte that is none.
	ProperCase
	// PreserveCase writes names as received, added ones in lower case.
	PreserveCase
)

// Framing is how a head is to be written: everything the fields do not decide.
type Framing struct {
	// Transfer is the framing of the body that follows. Chunked and Framed give transfer-encoding
	// (HTTP/1.1 only; to HTTP/1.0 the body goes until close), Length gives content-length, UntilClose
	// gives connection: close, Tunnel gives nothing.
	Transfer header.TransferKind
	// Length is the content-length. With NoBody a response declares it when it is not negative (a HEAD
	// or 304 passing one on; 0 for an empty body), a request only as 0 for POST, PUT and PATCH (HC-53).
	Length int64
	// Version is the version in the start line; zero is HTTP/1.1.
	Version header.Version
	Case    HeaderCase
	// ConnectionClose and ConnectionKeepAlive (for HTTP/1.0 peers) give the Connection options.
	ConnectionClose, ConnectionKeepAlive bool
	// Upgrade gives connection: upgrade, in the words received when the head still has them; the
	// Upgrade field itself is among the fields.
	Upgrade bool
	// FullURL writes the target in absolute form (send_fully_qualified_url).
	FullURL bool
	// KeepReason writes the phrase received in place of the registered one (HC-51).
	KeepReason bool
}

var methodNames = [...]string{
	header.MethodGet: "GET", header.MethodHead: "HEAD", header.MethodPost: "POST", header.MethodPut: "PUT",
	header.MethodDelete: "DELETE", header.MethodConnect: "CONNECT", header.MethodOptions: "OPTIONS",
	header.MethodTrace: "TRACE", header.MethodPatch: "PATCH",
}

// AppendRequestHead appends the head of a request: origin-form target (authority-form for CONNECT,
// absolute-form with f.FullURL), host from the authority, the live fields, Connection and exactly the
// framing f asks for. Host, Connection, Content-Length and Transfer-Encoding fields are never copied.
// Allocates only when dst lacks room.
func AppendRequestHead(dst []byte, h *header.Head, f Framing) []byte {
	if h.MethodText.Len > 0 {
		dst = append(dst, h.Bytes(h.MethodText)...)
	} else {
		dst = append(dst, methodNames[h.Method]...)
	}
	dst = append(dst, ' ')
	dst = appendTarget(dst, h, f.FullURL)
	if f.Version == header.HTTP10 {
		dst = append(dst, " HTTP/1.0\r\n"...)
	} else {
		dst = append(dst, " HTTP/1.1\r\n"...)
	}
	if f.Case == LowerCase {
		dst = append(dst, "host: "...)
	} else {
		dst = appendName(dst, header.Host, h.Bytes(h.HostName), f.Case)
	}
	dst = append(dst, h.Bytes(h.Authority)...)
	dst = append(dst, '\r', '\n')
	dst = appendFields(dst, h, f.Case)
	dst = appendConnection(dst, h, &f)
	switch f.Transfer {
	case header.NoBody:
		if h.Method == header.MethodPost || h.Method == header.MethodPut || h.Method == header.MethodPatch {
			dst = appendLength(dst, h, 0, f.Case)
		}
	case header.Length:
		dst = appendLength(dst, h, f.Length, f.Case)
	case header.Chunked, header.Framed:
		dst = appendChunked(dst, h, &f)
	case header.UntilClose, header.Tunnel: // a request has no such body; bytes after it are a tunnel's
	}
	return append(dst, '\r', '\n')
}

func appendTarget(dst []byte, h *header.Head, full bool) []byte {
	path := h.Bytes(h.Path)
	if h.Method == header.MethodConnect {
		return append(dst, h.Bytes(h.Authority)...)
	}
	if full {
		if h.Scheme.Len > 0 {
			dst = append(dst, h.Bytes(h.Scheme)...)
		} else {
			dst = append(dst, "http"...)
		}
		dst = append(dst, "://"...)
		dst = append(dst, h.Bytes(h.Authority)...)
		if len(path) == 1 && path[0] == '*' {
			return dst // RFC 9112 3.2.4
		}
	}
	if len(path) == 0 {
		return append(dst, '/')
	}
	return append(dst, path...)
}

// AppendResponseHead appends the head of a response in the same way. Nothing frames 1xx and 204
// (HC-45), nor a Tunnel (HC-47). Allocates only when dst lacks room.
func AppendResponseHead(dst []byte, h *header.Head, f Framing) []byte {
	var reason []byte
	if f.KeepReason && h.Reason.Len > 0 {
		reason = h.Bytes(h.Reason)
	}
	dst = AppendStatusLine(dst, f.Version, int(h.Status), reason)
	dst = appendFields(dst, h, f.Case)
	dst = appendConnection(dst, h, &f)
	if h.Status >= 200 && h.Status != 204 {
		switch f.Transfer {
		case header.NoBody:
			if f.Length >= 0 {
				dst = appendLength(dst, h, f.Length, f.Case)
			}
		case header.Length:
			dst = appendLength(dst, h, f.Length, f.Case)
		case header.Chunked, header.Framed:
			dst = appendChunked(dst, h, &f)
		case header.UntilClose, header.Tunnel:
		}
	}
	return append(dst, '\r', '\n')
}

// AppendStatusLine appends a status line with its CRLF; a nil reason takes the registered phrase.
// status is 100 to 999.
func AppendStatusLine(dst []byte, v header.Version, status int, reason []byte) []byte {
	if v != header.HTTP10 && reason == nil && uint(status-100) < uint(len(statusLines11)) {
		return append(dst, statusLines11[status-100]...)
	}
	if v == header.HTTP10 {
		dst = append(dst, "HTTP/1.0 "...)
	} else {
		dst = append(dst, "HTTP/1.1 "...)
	}
	if reason == nil {
		return appendStatus(dst, status, ReasonPhrase(status))
	}
	dst = appendStatus(dst, status, "")
	dst = append(dst[:len(dst)-2], reason...)
	return append(dst, '\r', '\n')
}

// notCopied are the fields written from Framing and Authority alone.
var notCopied = [header.NumKnown]bool{
	header.Connection: true, header.ContentLength: true, header.Host: true, header.TransferEncoding: true,
}

func appendFields(dst []byte, h *header.Head, c HeaderCase) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Dead || notCopied[f.ID] {
			continue
		}
		if f.ID != header.Unknown && c == LowerCase {
			dst = append(dst, lowerNames[f.ID]...)
		} else {
			dst = appendName(dst, f.ID, h.Bytes(f.Name), c)
		}
		dst = append(dst, h.Bytes(f.Value)...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// appendConnection writes at most one Connection field.
func appendConnection(dst []byte, h *header.Head, f *Framing) []byte {
	closes := f.ConnectionClose || f.Transfer == header.UntilClose ||
		f.Version == header.HTTP10 && (f.Transfer == header.Chunked || f.Transfer == header.Framed)
	te := h.Has(header.TE)
	if !f.Upgrade && !closes && !f.ConnectionKeepAlive && !te {
		return dst
	}
	dst = appendOwn(dst, h, header.Connection, f.Case)
	switch {
	case f.Upgrade:
		dst = appendUpgradeOption(dst, h)
		if closes {
			dst = append(dst, ", close"...)
		}
	case closes:
		dst = append(dst, "close"...)
	case f.ConnectionKeepAlive:
		dst = append(dst, "keep-alive"...)
	default:
		return append(dst, "te\r\n"...)
	}
	if te {
		dst = append(dst, ", te"...) // a sender of TE must nominate it (RFC 9110 10.1.4)
	}
	return append(dst, '\r', '\n')
}

// appendUpgradeOption writes the Connection value received when it is there, alone and says upgrade.
func appendUpgradeOption(dst []byte, h *header.Head) []byte {
	i := h.Index(header.Connection)
	if i >= 0 && h.Next(i) < 0 {
		if received := h.Bytes(h.Fields[i].Value); listedOptions(received)&optionUpgrade != 0 {
			return append(dst, received...)
		}
	}
	return append(dst, "upgrade"...)
}

func appendLength(dst []byte, h *header.Head, n int64, c HeaderCase) []byte {
	dst = appendOwn(dst, h, header.ContentLength, c)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

func appendChunked(dst []byte, h *header.Head, f *Framing) []byte {
	if f.Version == header.HTTP10 {
		return dst // until close (HC-46, HC-55); appendConnection has said so
	}
	dst = appendOwn(dst, h, header.TransferEncoding, f.Case)
	return append(dst, "chunked\r\n"...)
}

// appendOwn appends the name of a field the encoder writes itself, in the spelling received when the
// case is to be preserved.
func appendOwn(dst []byte, h *header.Head, id header.Known, c HeaderCase) []byte {
	var received []byte
	if i := h.Index(id); i >= 0 {
		received = h.Bytes(h.Fields[i].Name)
	}
	return appendName(dst, id, received, c)
}
