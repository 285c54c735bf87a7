package sniff

// DefaultMaxLineBytes is the most of a request line that Envoy's http_inspector looks at.
const DefaultMaxLineBytes = 64 << 10

// maxMethodBytes bounds the first word of a line, so that a stream of letters is not waited for. The
// longest registered method has 17 (IANA).
const maxMethodBytes = 32

// preface begins an HTTP/2 connection with prior knowledge (RFC 9113 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// lineEnding is what follows the target, up to the minor version.
const lineEnding = " HTTP/1."

// lineEndingBytes is the longest ending of a line that is not yet decided: with the minor version and CR.
const lineEndingBytes = len(lineEnding) + 2

// Protocol is what DetectHTTP knows of a connection.
type Protocol uint8

// What the bytes seen so far say.
const (
	// Undecided: the bytes may become a request line or the preface.
	Undecided Protocol = iota
	// HTTP10: a request line of HTTP/1.0.
	HTTP10
	// HTTP11: a request line of HTTP/1.1.
	HTTP11
	// H2C: the whole preface of HTTP/2.
	H2C
	// NotHTTP: neither.
	NotHTTP
	// TooLong: the limit ends before the line does.
	TooLong
)

var protocolNames = [...]string{"undecided", "http/1.0", "http/1.1", "h2c", "not HTTP", "too long"}

// String returns a name for logs; for HTTP10, HTTP11 and H2C it is the application protocol that
// filter chains are matched by.
func (p Protocol) String() string { return protocolNames[p] }

// DetectHTTP looks at the request line that begins at view[0], and at nothing after it.
//
//	view: | method SP target SP "HTTP/1." ("0" | "1") CRLF | not looked at |
//	      | PRI * HTTP/2.0 CRLF CRLF SM CRLF CRLF | not looked at |
//
// The view begins at the connection's first byte; each call is given all of it again. seen is how many
// bytes of it the call before was given (0 first): with it a line that comes byte by byte is read in
// linear time. maxBytes bounds the line with its CRLF; 0 or less means DefaultMaxLineBytes.
//
// The method is any token of at most 32 bytes, the target any visible ASCII: whether the request is
// good is the codec's matter. Empty lines before it, two spaces, a bare CR or LF and other versions are
// not HTTP here. No allocation.
//
// Source: RFC 9112 3; Envoy's http_inspector, which closes the connection where this says TooLong.
func DetectHTTP(view []byte, seen, maxBytes int) Protocol {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxLineBytes
	}
	line := view[:min(len(view), maxBytes)]
	p := detect(line, min(seen, len(line)))
	if p == Undecided && len(line) == maxBytes {
		return TooLong
	}
	return p
}

func detect(line []byte, seen int) Protocol {
	if n := min(len(line), len(preface)); string(line[:n]) == preface[:n] {
		if n == len(preface) {
			return H2C
		}
		return Undecided
	}
	i := 0
	for i < len(line) && isTokenByte(line[i]) {
		if i++; i > maxMethodBytes {
			return NotHTTP
		}
	}
	if i == len(line) {
		return Undecided
	}
	if i == 0 || line[i] != ' ' {
		return NotHTTP
	}
	target := i + 1
	// What was seen before was undecided, so of the ending it holds less than the whole.
	i = max(target, seen-lineEndingBytes)
	for i < len(line) && line[i] > ' ' && line[i] < 0x7f {
		i++
	}
	if i == len(line) {
		return Undecided
	}
	if i == target || line[i] != ' ' {
		return NotHTTP
	}
	return detectEnding(line[i:])
}

// detectEnding judges b, which begins at the space after the target.
func detectEnding(b []byte) Protocol {
	n := min(len(b), len(lineEnding))
	if string(b[:n]) != lineEnding[:n] {
		return NotHTTP
	}
	b = b[n:]
	found := HTTP11
	if len(b) > 0 && b[0] == '0' {
		found = HTTP10
	}
	switch {
	case len(b) > 0 && b[0] != '0' && b[0] != '1', len(b) > 1 && b[1] != '\r', len(b) > 2 && b[2] != '\n':
		return NotHTTP
	case len(b) > 2:
		return found
	}
	return Undecided
}

// isTokenByte says whether c may be in a method (RFC 9110 5.6.2 tchar).
func isTokenByte(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return alphanumeric(c)
}
