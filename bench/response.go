package bench

import (
	"bytes"
	"errors"
)

// response reads one HTTP/1 response from pieces of any size and keeps nothing of it but what a load
// generator asks about. It trusts the proxy more than a codec may: field syntax is not checked.
//
//	phase      on a byte run                          -> next
//	inHead     wait for the empty line, read fields   -> inLength, inSize, inRest or atEnd; 1xx: inHead
//	inLength   count down remaining                   -> atEnd
//	inSize     hex digits up to LF                    -> inChunk, or inTrailer for size 0
//	inChunk    count down remaining (data and CRLF)   -> inSize
//	inTrailer  lines up to the empty one              -> atEnd
//	inRest     count until the connection ends        -> (finish) atEnd
type response struct {
	phase     phase
	headOnly  bool // answer to HEAD
	closes    bool // the connection ends with this response
	lineBytes int  // inSize, inTrailer: bytes of the current line so far, CR not counted
	status    int
	remaining int64 // inLength: body bytes; inChunk: data bytes plus the CRLF
	body      int64 // body bytes so far
	size      int64 // inSize: value so far
	head      []byte
}

type phase uint8

const (
	inHead phase = iota
	inLength
	inSize
	inChunk
	inTrailer
	inRest
	atEnd
)

const maxHeadBytes = 64 << 10

var (
	errHead  = errors.New("response head is not HTTP/1")
	errChunk = errors.New("bad chunk size")
)

// begin makes r ready for the next response on its connection. The storage of a split head is kept.
func (r *response) begin(headOnly bool) {
	*r = response{headOnly: headOnly, head: r.head[:0]}
}

// started reports whether any byte of the response has been seen.
func (r *response) started() bool { return r.phase != inHead || len(r.head) > 0 || r.status != 0 }

// feed takes the next bytes and returns how many belong to this response; fewer than len(p) only when it
// is done or wrong. No allocation unless a head arrives in pieces.
func (r *response) feed(p []byte) (n int, done bool, err error) {
	for n < len(p) && r.phase != atEnd {
		var used int
		switch r.phase {
		case inHead:
			used, err = r.feedHead(p[n:])
		case inSize:
			used, err = r.feedSize(p[n:])
		case inTrailer:
			used = r.feedTrailer(p[n:])
		case inRest:
			used = len(p) - n
			r.body += int64(used)
		default:
			used = int(min(r.remaining, int64(len(p)-n)))
			r.skip(int64(used))
		}
		n += used
		if err != nil {
			return n, false, err
		}
	}
	return n, r.phase == atEnd, nil
}

// discardable returns how many body bytes may be dropped unseen; the caller reports them with skip.
func (r *response) discardable() int64 {
	switch r.phase {
	case inLength:
		return r.remaining
	case inChunk:
		return max(0, r.remaining-2)
	case inRest:
		return 1 << 30
	}
	return 0
}

// skip accounts for n bytes of a counted run.
func (r *response) skip(n int64) {
	switch r.phase {
	case inRest:
		r.body += n
	case inLength:
		r.body += n
		if r.remaining -= n; r.remaining == 0 {
			r.phase = atEnd
		}
	case inChunk:
		r.body += max(0, min(n, r.remaining-2))
		if r.remaining -= n; r.remaining == 0 {
			r.phase, r.size, r.lineBytes = inSize, 0, 0
		}
	}
}

// finish is called when the connection ended; it reports whether the response is complete by that.
func (r *response) finish() bool {
	if r.phase == inRest {
		r.phase = atEnd
	}
	return r.phase == atEnd
}

func (r *response) feedHead(p []byte) (used int, err error) {
	if len(r.head) == 0 {
		if i := bytes.Index(p, crlfcrlf); i >= 0 {
			return i + 4, r.parseHead(p[:i+2])
		}
	}
	// The head is in pieces. The empty line may straddle two of them.
	from := max(0, len(r.head)-3)
	before := len(r.head)
	r.head = append(r.head, p...)
	if i := bytes.Index(r.head[from:], crlfcrlf); i >= 0 {
		end := from + i + 4
		err = r.parseHead(r.head[:end-2])
		r.head = r.head[:0]
		return end - before, err
	}
	if len(r.head) > maxHeadBytes {
		return len(p), errHead
	}
	return len(p), nil
}

var crlfcrlf = []byte("\r\n\r\n")

// parseHead reads status line and fields; every line of b ends with CRLF. A transfer coding other than
// one plain chunked, on HTTP/1.0, or beside a length is no response to count.
func (r *response) parseHead(b []byte) error {
	if len(b) < len("HTTP/1.1 200\r\n") || string(b[:7]) != "HTTP/1." || b[8] != ' ' {
		return errHead
	}
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return errHead
		}
	}
	r.status = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
	old := b[7] == '0'
	r.closes = old
	length, measured, chunked := int64(-1), false, false
	for b = after(b); len(b) > 0; b = after(b) {
		line := b[:bytes.IndexByte(b, '\n')+1]
		switch {
		case hasName(line, "content-length:"):
			length, measured = number(line[len("content-length:"):]), true
		case hasName(line, "transfer-encoding:"):
			if old || chunked || !bytes.EqualFold(bytes.TrimSpace(line[len("transfer-encoding:"):]), []byte("chunked")) {
				return errHead
			}
			chunked = true
		case hasName(line, "connection:"):
			if v := line[len("connection:"):]; containsToken(v, "close") {
				r.closes = true
			} else if containsToken(v, "keep-alive") {
				r.closes = false
			}
		}
	}
	if chunked && measured {
		return errHead
	}
	switch {
	case r.status < 200:
		r.phase = inHead // an interim response; the final one follows
	case r.headOnly || r.status == 204 || r.status == 304 || length == 0:
		r.phase = atEnd
	case chunked:
		r.phase, r.size, r.lineBytes = inSize, 0, 0
	case length > 0:
		r.phase, r.remaining = inLength, length
	default:
		r.phase, r.closes = inRest, true
	}
	return nil
}

// after returns what follows the first line of b; b ends with LF.
func after(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] }

// hasName reports whether line starts with name, a lower-case field name and its colon.
func hasName(line []byte, name string) bool {
	if len(line) < len(name) || line[0]|0x20 != name[0] {
		return false
	}
	for i := 1; i < len(name); i++ {
		if line[i]|0x20 != name[i]|0x20 {
			return false
		}
	}
	return true
}

// number reads a decimal after optional spaces; -1 when there is none or it is too long.
func number(b []byte) int64 {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || len(b) > 18 {
		return -1
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// containsToken reports whether v contains the lower-case token anywhere, whatever its case.
func containsToken(v []byte, token string) bool {
	for i := 0; i+len(token) <= len(v); i++ {
		if hasName(v[i:], token) {
			return true
		}
	}
	return false
}

func (r *response) feedSize(p []byte) (used int, err error) {
	for i, c := range p {
		d := int64(-1)
		switch {
		case c == '\n':
			if r.lineBytes == 0 {
				return i, errChunk
			}
			if r.size == 0 {
				r.phase, r.lineBytes = inTrailer, 0
			} else {
				r.phase, r.remaining = inChunk, r.size+2
			}
			return i + 1, nil
		case c == '\r':
			continue
		case c >= '0' && c <= '9':
			d = int64(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = int64(c|0x20-'a') + 10
		}
		if d < 0 || r.lineBytes == 15 {
			return i, errChunk
		}
		r.size = r.size<<4 | d
		r.lineBytes++
	}
	return len(p), nil
}

func (r *response) feedTrailer(p []byte) (used int) {
	for i, c := range p {
		switch c {
		case '\r':
		case '\n':
			if r.lineBytes == 0 {
				r.phase = atEnd
				return i + 1
			}
			r.lineBytes = 0
		default:
			r.lineBytes++
		}
	}
	return len(p)
}
