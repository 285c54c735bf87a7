package http1

import (
	"bytes"

	"github.com/sluiceproxy/sluice/codec/header"
)

// trailerLines uses the complete trailer lines at the front of p; a partial one stays with the caller.
// Lines end in CRLF only: a bare LF here is how two readers come to disagree about the next message.
func (d *Body) trailerLines(p []byte) (n int) {
	for {
		line := p[n:]
		scanned := min(d.seen, len(line))
		end := bytes.IndexByte(line[scanned:], '\n')
		if end < 0 {
			if d.seen = len(line); d.trailerBytes+len(line) > d.o.MaxHeadBytes {
				d.fail(ErrTooLarge)
			}
			return n
		}
		end += scanned
		d.seen = 0
		if d.trailerBytes += end + 1; d.trailerBytes > d.o.MaxHeadBytes {
			d.fail(ErrTooLarge)
			return n
		}
		if end == 1 && line[0] == '\r' {
			d.state = atDone
			return n + 2
		}
		if e := d.trailerLine(line[:end]); e != OK {
			d.fail(e)
			return n
		}
		n += end + 1
	}
}

// trailerLine checks one field line, its LF taken off, and gives it to the trailers (HC-13).
func (d *Body) trailerLine(line []byte) Err {
	switch {
	case len(line) == 0 || line[len(line)-1] != '\r':
		return ErrFieldValue
	case line[0] == ' ' || line[0] == '\t':
		return ErrFolding
	}
	line = line[:len(line)-1]
	k := colon(line, 0)
	if k == len(line) {
		return ErrFieldName
	}
	name := line[:k]
	drop, e := checkName(name, d.o)
	if e != OK {
		return e
	}
	value := trimOWS(line[k+1:])
	if valueEnd(value, 0) != len(value) {
		return ErrFieldValue
	}
	if d.trailerFields++; d.trailerFields > min(d.o.MaxFields, header.MaxFields) {
		return ErrTooManyFields
	}
	if drop {
		if d.trailers != nil {
			d.trailers.DroppedUnderscores++
		}
		return OK
	}
	if id := header.Lookup(name); d.trailers != nil && !neverTrailer[id] {
		d.trailers.AddBytes(id, name, value)
	}
	return OK
}

// neverTrailer names the fields that mean something before the body only: framing, routing,
// connection. RFC 9110 6.5.1 lets a recipient drop them, and merging them would be smuggling.
var neverTrailer = [header.NumKnown]bool{
	header.Authorization: true, header.Connection: true, header.ContentEncoding: true, header.ContentLength: true,
	header.ContentType: true, header.Expect: true, header.Host: true, header.HTTP2Settings: true,
	header.KeepAlive: true, header.ProxyAuthorization: true, header.ProxyConnection: true, header.Range: true,
	header.TE: true, header.Trailer: true, header.TransferEncoding: true, header.Upgrade: true,
}
