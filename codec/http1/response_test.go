package http1

import (
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

func parseResponseText(t *testing.T, in string, o *Options, req RequestInfo) (n int, e Err, h *header.Head) {
	t.Helper()
	parse := func(b []byte, seen int, h *header.Head) (int, Err) { return ParseResponse(b, seen, o, req, h) }
	n, e, h = parseCut(in, nil, parse)
	n2, e2, h2 := parseCut(in, everyByte(in), parse)
	if n != n2 || e != e2 || n > 0 && describeResponse(h) != describeResponse(h2) {
		t.Errorf("whole: %d %v %s\nbyte by byte: %d %v %s", n, e.Explain(), describeResponse(h), n2, e2.Explain(), describeResponse(h2))
	}
	return n, e, h
}

var (
	forGet     = RequestInfo{Method: header.MethodGet}
	forHead    = RequestInfo{Method: header.MethodHead}
	forConnect = RequestInfo{Method: header.MethodConnect}
	forUpgrade = RequestInfo{Method: header.MethodGet, Upgrade: true}
)

func TestResponseRefused(t *testing.T) {
	tests := []struct {
		name string
		in   string
		req  RequestInfo
		opts func(o *Options)
		want Err
	}{
		{"another protocol, before any line end", "SSH-2.0", forGet, nil, ErrStatusLine},
		{"another protocol from the second byte on", "HZ", forGet, nil, ErrStatusLine},
		{"an empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"a status under 100", "HTTP/1.1 099 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"a status that is no number", "HTTP/1.1 2x0 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"no status", "HTTP/1.1\r\n\r\n", forGet, nil, ErrStatusLine},
		{"a bare CR in the phrase", "HTTP/1.1 200 O\rK\r\n\r\n", forGet, nil, ErrStatusLine},
		{"NUL in the phrase", "HTTP/1.1 200 O\x00K\r\n\r\n", forGet, nil, ErrStatusLine},
		{"HC-9 a folded line", "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", forGet, nil, ErrFolding},
		{"HC-8 a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", forGet, nil, ErrFieldName},
		{"HC-20 both framings", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", forGet, nil, ErrLengthAndChunked},
		{"HC-20 both framings to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", forHead, nil, ErrLengthAndChunked},
		{"HC-21 gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", forGet, nil, ErrTransferEncoding},
		{"HC-22 chunked on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forGet, nil, ErrTransferEncoding10},
		{"HC-23 equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", forGet, nil, ErrContentLength},
		{"HC-23 a bad length on 304", "HTTP/1.1 304 X\r\nContent-Length: a\r\n\r\n", forGet, nil, ErrContentLength},
		{"HC-45 a coding on 204", "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", forGet, nil, ErrTransferEncodingNotAllowed},
		{"HC-45 a coding on 100", "HTTP/1.1 100 X\r\nTransfer-Encoding: chunked\r\n\r\n", forGet, nil, ErrTransferEncodingNotAllowed},
		{"HC-45 a length on 204", "HTTP/1.1 204 X\r\nContent-Length: 1\r\n\r\n", forGet, nil, ErrContentLengthNotAllowed},
		{"HC-45 a length on 103", "HTTP/1.1 103 X\r\nContent-Length: 1\r\n\r\n", forGet, nil, ErrContentLengthNotAllowed},
		{"HC-45 a length on 101", "HTTP/1.1 101 X\r\nContent-Length: 1\r\n\r\n", forUpgrade, nil, ErrContentLengthNotAllowed},
		{"HC-45 a length on 204 that is none", "HTTP/1.1 204 X\r\nContent-Length: a\r\n\r\n", forGet, nil, ErrContentLengthNotAllowed},
		{"UP-15 101 unasked", "HTTP/1.1 101 X\r\n\r\n", forGet, nil, ErrUnaskedUpgrade},
		{"HC-49 a head too large", "HTTP/1.1 200 OK\r\na: " + strings.Repeat("v", 100), forGet, func(o *Options) { o.MaxHeadBytes = 64 }, ErrTooLarge},
		{"HC-49 too many fields", "HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\n\r\n", forGet, func(o *Options) { o.MaxFields = 1 }, ErrTooManyFields},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, e, _ := parseResponseText(t, tt.in, defaults(tt.opts), tt.req)
			if n != 0 || e != tt.want {
				t.Errorf("n %d, %q; want %q", n, e.Explain(), tt.want.Explain())
			}
		})
	}
}

func TestResponseAccepted(t *testing.T) {
	tests := []struct {
		name string
		in   string
		req  RequestInfo
		want string // as describeResponse
	}{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", forGet, `200 "OK" HTTP/1.1 length(5) [Content-Length=5] dropped=0`},
		{"a length of zero", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", forGet, `200 "OK" HTTP/1.1 none(0) [Content-Length=0] dropped=0`},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forGet, `200 "OK" HTTP/1.1 chunked(-1) [Transfer-Encoding=chunked] dropped=0`},
		{"no phrase", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", forGet, `200 "" HTTP/1.1 length(5) [Content-Length=5] dropped=0`},
		{"no phrase and no space", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", forGet, `200 "" HTTP/1.1 length(5) [Content-Length=5] dropped=0`},
		{"a phrase of words and high bytes", "HTTP/1.1 999 Ce n'est pas tr\xc3\xa8s bien\nContent-Length: 5\n\n", forGet, `999 "Ce n'est pas très bien" HTTP/1.1 length(5) [Content-Length=5] dropped=0`},
		{"Host means nothing in a response", "HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\nContent-Length: 0\r\n\r\n", forGet, `200 "OK" HTTP/1.1 none(0) [Host=a b][Host=c][Content-Length=0] dropped=0`},
		{"HC-36 close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", forGet, `200 "OK" HTTP/1.1 length(5) close [Connection=close][Content-Length=5] dropped=0`},
		{"HC-36 HTTP/1.0 closes", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", forGet, `200 "OK" HTTP/1.0 length(5) close [Content-Length=5] dropped=0`},
		{"HC-36 HTTP/1.0 keeps alive when it says so", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", forGet, `200 "OK" HTTP/1.0 length(5) [Connection=keep-alive][Content-Length=5] dropped=0`},
		{"HC-45 HEAD passes its length on", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", forHead, `200 "OK" HTTP/1.1 none(5) [Content-Length=5] dropped=0`},
		{"HC-45 HEAD may say chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", forHead, `200 "OK" HTTP/1.1 none(-1) [Transfer-Encoding=chunked] dropped=0`},
		{"HC-45 HEAD without framing does not close", "HTTP/1.1 200 OK\r\n\r\n", forHead, `200 "OK" HTTP/1.1 none(-1)  dropped=0`},
		{"HC-45 304 passes its length on", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", forGet, `304 "Not Modified" HTTP/1.1 none(5) [Content-Length=5] dropped=0`},
		{"HC-45 204 with a length of zero", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", forGet, `204 "No Content" HTTP/1.1 none(-1)  dropped=0`},
		{"HC-40 an interim response", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", forGet, `103 "Early Hints" HTTP/1.1 none(-1) [Link=</a>] dropped=0`},
		{"HC-46 no framing runs until close", "HTTP/1.1 200 OK\r\n\r\n", forGet, `200 "OK" HTTP/1.1 close(-1) close  dropped=0`},
		{"HC-46 not to be kept alive either", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", forGet, `200 "OK" HTTP/1.0 close(-1) close [Connection=keep-alive] dropped=0`},
		{"HC-47 2xx to CONNECT, framing ignored", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n", forConnect, `200 "OK" HTTP/1.1 tunnel(-1) [Content-Length=5][Transfer-Encoding=gzip] dropped=0`},
		{"HC-47 407 to CONNECT has a body", "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n", forConnect, `407 "No" HTTP/1.1 length(5) [Content-Length=5] dropped=0`},
		{"101 that was asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", forUpgrade, `101 "Switching Protocols" HTTP/1.1 tunnel(-1) upgrade [Connection=Upgrade][Upgrade=websocket] dropped=0`},
		{"200 to an upgrade is a response", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", forUpgrade, `200 "OK" HTTP/1.1 length(5) [Content-Length=5] dropped=0`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, e, h := parseResponseText(t, tt.in+"next", defaults(nil), tt.req)
			if n != len(tt.in) || e != OK {
				t.Fatalf("n %d of %d, %q", n, len(tt.in), e.Explain())
			}
			if got := describeResponse(h); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}
