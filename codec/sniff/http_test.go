package sniff

import (
	"strings"
	"testing"
)

// detectCut looks at in as it grows through the cuts, and then whole.
func detectCut(in string, cuts []int, maxBytes int) Protocol {
	seen := 0
	for _, end := range cuts {
		if p := DetectHTTP(exact(in[:end]), seen, maxBytes); p != Undecided {
			return p
		}
		seen = end
	}
	return DetectHTTP(exact(in), seen, maxBytes)
}

func TestDetectHTTP(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want Protocol
	}{
		{"nothing yet", "", Undecided},
		{"HTTP/1.1", "GET / HTTP/1.1\r\n", HTTP11},
		{"HTTP/1.1 and its fields, which are not looked at", "GET / HTTP/1.1\r\n\x00\xff", HTTP11},
		{"HTTP/1.0", "POST /a?b=c HTTP/1.0\r\n", HTTP10},
		{"an absolute target", "GET http://a/b HTTP/1.1\r\n", HTTP11},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\n", HTTP11},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\n", HTTP11},
		{"a method of its own", "x-BREW! / HTTP/1.1\r\n", HTTP11},
		{"a method of 32 bytes", strings.Repeat("M", 32) + " / HTTP/1.1\r\n", HTTP11},
		{"a method of 33 bytes, at once", strings.Repeat("M", 33), NotHTTP},
		{"a line without its LF", "GET / HTTP/1.1\r", Undecided},
		{"a line without its CR", "GET / HTTP/1.1", Undecided},
		{"a version without its minor number", "GET / HTTP/1.", Undecided},
		{"the first byte of a method", "G", Undecided},
		{"a target in growth", "GET /abc", Undecided},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", H2C},
		{"the preface and its frames", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04", H2C},
		{"the preface less a byte", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Undecided},
		{"a preface that goes wrong at the end", "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", NotHTTP},
		{"a preface that goes wrong after its line", "PRI * HTTP/2.0\r\nX", NotHTTP},
		{"a method that begins like the preface", "PRINT / HTTP/1.1\r\n", HTTP11},
		{"the method of the preface in HTTP/1.1", "PRI * HTTP/1.1\r\n", HTTP11},
		{"HTTP/2 in a request line", "GET / HTTP/2.0", NotHTTP},
		{"HTTP/1.2", "GET / HTTP/1.2", NotHTTP},
		{"a version of two digits", "GET / HTTP/1.10", NotHTTP},
		{"a lower-case version", "GET / h", NotHTTP},
		{"HTTP/0.9", "GET /\r", NotHTTP},
		{"a bare LF", "GET / HTTP/1.1\n", NotHTTP},
		{"a bare CR", "GET / HTTP/1.1\rX", NotHTTP},
		{"a space after the version", "GET / HTTP/1.1 ", NotHTTP},
		{"two spaces before the target", "GET  ", NotHTTP},
		{"two spaces before the version", "GET /  ", NotHTTP},
		{"a tab before the target", "GET\t", NotHTTP},
		{"a tab in the target", "GET /\t", NotHTTP},
		{"NUL in the target", "GET /\x00", NotHTTP},
		{"a byte over 0x7e in the target", "GET /\x80", NotHTTP},
		{"DEL in the target", "GET /\x7f", NotHTTP},
		{"an empty line first", "\r", NotHTTP},
		{"no method", " ", NotHTTP},
		{"a method that is no token", "GE(", NotHTTP},
		{"TLS", "\x16", NotHTTP},
		{"SSL 2", "\x80", NotHTTP},
		{"a PROXY header, version 2", "\r\n\r\n\x00\r\nQUIT\n", NotHTTP},
		{"a PROXY header, version 1", "PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", NotHTTP},
		{"SSH", "SSH-2.0-OpenSSH_9.6\r\n", NotHTTP},
		{"SMTP", "EHLO example.com\r\n", NotHTTP},
		{"RESP", "*1\r", NotHTTP},
		{"a RESP inline command", "SET a b", NotHTTP},
		{"a response", "HTTP/1.1 200 OK\r\n", NotHTTP},
		{"PostgreSQL's start", "\x00\x00\x00\x08", NotHTTP},
		{"an MQTT CONNECT", "\x10", NotHTTP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := detectCut(tt.in, nil, 0); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if got := detectCut(tt.in, everyByte(tt.in), 0); got != tt.want {
				t.Errorf("byte by byte %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRequestLineLimit(t *testing.T) {
	line := "GET /" + strings.Repeat("a", 1000) + " HTTP/1.1\r\n"
	huge := "GET /" + strings.Repeat("a", DefaultMaxLineBytes) + " HTTP/1.1\r\n"
	tests := []struct {
		name string
		in   string
		max  int
		want Protocol
	}{
		{"the line fits exactly", line, len(line), HTTP11},
		{"one byte too long", line, len(line) - 1, TooLong},
		{"as many bytes as allowed, and no end", line[:500], 500, TooLong},
		{"one byte less", line[:499], 500, Undecided},
		{"not HTTP within the limit", "GET /\x00" + line, 6, NotHTTP},
		{"not HTTP after the limit", "GET /a\x00", 6, TooLong},
		{"the default is 64 KiB", huge[:len(huge)-len(" HTTP/1.1\r\n")-5-1], 0, Undecided},
		{"and no more", huge, 0, TooLong},
		{"the preface and a smaller limit", preface, 23, TooLong},
		{"the preface fits exactly", preface, 24, H2C},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := detectCut(tt.in, nil, tt.max); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if got := detectCut(tt.in, []int{len(tt.in) / 3, len(tt.in) - 1}, tt.max); got != tt.want {
				t.Errorf("in three reads %v, want %v", got, tt.want)
			}
		})
	}
}

// TestApplicationProtocols: these names are what filter chains are matched by.
func TestApplicationProtocols(t *testing.T) {
	for p, want := range map[Protocol]string{HTTP10: "http/1.0", HTTP11: "http/1.1", H2C: "h2c"} {
		if p.String() != want {
			t.Errorf("%q, want %q", p, want)
		}
	}
	if TooLong.String() != "too long" || Malformed.String() != "malformed" {
		t.Errorf("the last names are %q and %q", TooLong, Malformed)
	}
}
