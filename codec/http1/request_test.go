package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/codec/header"
)

func parseRequestText(t *testing.T, in string, o *Options) (n int, e Err, h *header.Head) {
	t.Helper()
	parse := func(b []byte, seen int, h *header.Head) (int, Err) { return ParseRequest(b, seen, o, h) }
	n, e, h = parseCut(in, nil, parse)
	n2, e2, h2 := parseCut(in, everyByte(in), parse)
	if n != n2 || e != e2 || n > 0 && describeRequest(h) != describeRequest(h2) {
		t.Errorf("whole: %d %v %s\nbyte by byte: %d %v %s", n, e.Explain(), describeRequest(h), n2, e2.Explain(), describeRequest(h2))
	}
	return n, e, h
}

const hostX = "Host: x\r\n"

func TestRequestRefused(t *testing.T) {
	get := func(fields string) string { return "GET / HTTP/1.1\r\n" + hostX + fields + "\r\n" }
	line := func(l string) string { return l + "\r\n" + hostX + "\r\n" }
	http10 := func(o *Options) { o.AllowHTTP10 = true }
	tests := []struct {
		name string
		in   string
		opts func(o *Options)
		want Err
	}{
		{"HC-1 a target that is no form", line("GET x HTTP/1.1"), nil, ErrTarget},
		{"HC-1 an empty target", line("GET  HTTP/1.1"), nil, ErrTarget},
		{"HC-1 two spaces before the target", line("GET  / HTTP/1.1"), nil, ErrRequestLine},
		{"HC-1 authority form with GET", line("GET x:80 HTTP/1.1"), nil, ErrTarget},
		{"HC-1 asterisk with GET", line("GET * HTTP/1.1"), nil, ErrTarget},
		{"HC-1 asterisk and more", line("OPTIONS *x HTTP/1.1"), nil, ErrTarget},
		{"HC-1 a byte over 0x7e in the target", line("GET /\x80 HTTP/1.1"), nil, ErrTarget},
		{"HC-1 DEL in the target", line("GET /\x7f HTTP/1.1"), nil, ErrTarget},
		{"HC-1 a tab in the target", line("GET /\ta HTTP/1.1"), nil, ErrTarget},
		{"HC-1 NUL in the target", line("GET /\x00 HTTP/1.1"), nil, ErrTarget},
		{"HC-1 CONNECT with a path", line("CONNECT /x HTTP/1.1"), nil, ErrTarget},
		{"UP-34 CONNECT without a port", line("CONNECT x HTTP/1.1"), nil, ErrTarget},
		{"UP-34 CONNECT with an empty port", line("CONNECT x: HTTP/1.1"), nil, ErrTarget},
		{"UP-34 CONNECT without a host", line("CONNECT :80 HTTP/1.1"), nil, ErrTarget},
		{"UP-34 CONNECT with an absolute target", line("CONNECT http://x:80/ HTTP/1.1"), nil, ErrTarget},
		{"UP-34 CONNECT with a port out of range", line("CONNECT x:65536 HTTP/1.1"), nil, ErrTarget},
		{"UP-34 CONNECT with userinfo", line("CONNECT u@x:80 HTTP/1.1"), nil, ErrTarget},
		{"HC-2 an absolute target without a host", line("GET http:///a HTTP/1.1"), nil, ErrTarget},
		{"HC-2 an absolute target with userinfo", line("GET http://u:p@x/ HTTP/1.1"), nil, ErrTarget},
		{"HC-2 an absolute target with a bad port", line("GET http://x:y/ HTTP/1.1"), nil, ErrTarget},
		{"HC-2 an absolute target with a backslash host", line("GET http://x\\y/ HTTP/1.1"), nil, ErrTarget},
		{"HC-1 a scheme that begins with a digit", line("GET 1http://x/ HTTP/1.1"), nil, ErrTarget},
		{"HC-1 a scheme with an underscore", line("GET ht_tp://x/ HTTP/1.1"), nil, ErrTarget},
		{"RT-120 a scheme of every character it may have", line("GET aZ9+-.://x/ HTTP/1.1"), nil, ErrScheme},
		{"RT-120 a scheme that is not HTTP", line("GET ftp://x/ HTTP/1.1"), nil, ErrScheme},
		{"HC-3 no Host", "GET / HTTP/1.1\r\n\r\n", nil, ErrMissingHost},
		{"HC-3 no Host beside an absolute target", "GET http://x/ HTTP/1.1\r\n\r\n", nil, ErrMissingHost},
		{"HC-3 an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", nil, ErrMissingHost},
		{"HC-3 two Hosts", get("Host: x\r\n"), nil, ErrHost},
		{"HC-3 two Hosts beside an absolute target", "GET http://x/ HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n", nil, ErrHost},
		{"HC-3 a space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", nil, ErrHost},
		{"HC-3 a slash in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", nil, ErrHost},
		{"HC-4 HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", nil, ErrLowVersion},
		{"HC-4 HTTP/0.9 without a version", "GET /\r\n", nil, ErrLowVersion},
		{"HC-4 HTTP/0.9 is refused even where 1.0 is not", "GET /\r\n", http10, ErrLowVersion},
		{"HC-4 HTTP/1.2", line("GET / HTTP/1.2"), nil, ErrLowVersion},
		{"HC-4 HTTP/2.0", line("GET / HTTP/2.0"), http10, ErrLowVersion},
		{"HC-4 a lower-case version", line("GET / http/1.1"), nil, ErrRequestLine},
		{"HC-4 a version of two digits", line("GET / HTTP/1.10"), nil, ErrRequestLine},
		{"HC-4 a version cut short", line("GET / HTTP/1"), nil, ErrRequestLine},
		{"HC-4 a space after the version", line("GET / HTTP/1.1 "), nil, ErrRequestLine},
		{"HC-4 two spaces before the version", line("GET /  HTTP/1.1"), nil, ErrRequestLine},
		{"HC-5 an unregistered method", line("BREW / HTTP/1.1"), nil, ErrMethod},
		{"HC-5 a method in lower case", line("get / HTTP/1.1"), nil, ErrMethod},
		{"HC-5 a method that is no token", line("GE(T / HTTP/1.1"), nil, ErrRequestLine},
		{"HC-5 no method", line(" / HTTP/1.1"), nil, ErrRequestLine},
		{"HC-5 a TLS hello, before any line end", "\x16\x03\x01\x02\x00\x01", nil, ErrRequestLine},
		{"HC-6 NUL in a value", get("a: b\x00c\r\n"), nil, ErrFieldValue},
		{"HC-6 a bare CR in a value", get("a: b\rc\r\n"), nil, ErrFieldValue},
		{"HC-6 a bare CR before CRLF", get("a: b\r\r\n"), nil, ErrFieldValue},
		{"HC-6 a bare CR as a line", get("\rX: y\r\n"), nil, ErrFieldValue},
		{"HC-6 DEL in a value", get("a: \x7f\r\n"), nil, ErrFieldValue},
		{"HC-6 ESC far into a long value", get("a: " + strings.Repeat("v", 50) + "\x1b\r\n"), nil, ErrFieldValue},
		{"HC-7 more empty lines than allowed", strings.Repeat("\r\n", maxEmptyLines+1) + get(""), nil, ErrRequestLine},
		{"HC-8 a space before the colon", get("a : b\r\n"), nil, ErrFieldName},
		{"HC-8 a tab before the colon", get("Content-Length\t: 5\r\n"), nil, ErrFieldName},
		{"HC-9 a folded line", get("a: b\r\n c\r\n"), nil, ErrFolding},
		{"HC-9 a line folded with a tab", get("a: b\r\n\tc\r\n"), nil, ErrFolding},
		{"HC-9 a folded line right after the request line", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", nil, ErrFolding},
		{"HC-10 an empty name", get(": b\r\n"), nil, ErrFieldName},
		{"HC-10 no colon", get("abc\r\n"), nil, ErrFieldName},
		{"HC-10 no colon on the last line either", "GET / HTTP/1.1\r\nHost\r\n\r\n", nil, ErrFieldName},
		{"HC-10 a byte over 0x7f in a name", get("a\x80: b\r\n"), nil, ErrFieldName},
		{"HC-10 NUL first in a name", get("\x00a: b\r\n"), nil, ErrFieldName},
		{"HC-11 a head one byte too long", get("a: " + strings.Repeat("v", 200) + "\r\n"), func(o *Options) { o.MaxHeadBytes = 231 }, ErrTooLarge},
		{"HC-11 a target without end", "GET /" + strings.Repeat("v", 200), func(o *Options) { o.MaxHeadBytes = 100 }, ErrTooLarge},
		{"HC-12 one field too many", get("a: 1\r\nb: 2\r\n"), func(o *Options) { o.MaxFields = 2 }, ErrTooManyFields},
		{"HC-14 an underscore under REJECT_REQUEST", get("a_b: 1\r\n"), func(o *Options) { o.Underscores = UnderscoreReject }, ErrUnderscore},
		{"HC-20 both framings", get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), nil, ErrLengthAndChunked},
		{"HC-20 both framings with a length of zero", get("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), nil, ErrLengthAndChunked},
		{"HC-20 allow_chunked_length needs exactly chunked", get("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n"), func(o *Options) { o.AllowChunkedLength = true }, ErrLengthAndChunked},
		{"HC-21 gzip, chunked", get("Transfer-Encoding: gzip, chunked\r\n"), nil, ErrTransferEncoding},
		{"HC-21 identity", get("Transfer-Encoding: identity\r\n"), nil, ErrTransferEncoding},
		{"HC-21 chunked twice in one field", get("Transfer-Encoding: chunked, chunked\r\n"), nil, ErrTransferEncoding},
		{"HC-21 chunked twice in two fields", get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), nil, ErrTransferEncoding},
		{"HC-21 identity, then chunked", get("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), nil, ErrTransferEncoding},
		{"HC-21 a quoted chunked", get("Transfer-Encoding: \"chunked\"\r\n"), nil, ErrTransferEncoding},
		{"HC-21 chunked with a parameter", get("Transfer-Encoding: chunked;a=b\r\n"), nil, ErrTransferEncoding},
		{"HC-21 an empty coding", get("Transfer-Encoding:\r\n"), nil, ErrTransferEncoding},
		{"HC-21 a vertical tab before chunked", get("Transfer-Encoding: \x0bchunked\r\n"), nil, ErrFieldValue},
		{"HC-22 chunked on HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", http10, ErrTransferEncoding10},
		{"HC-23 a sign", get("Content-Length: +5\r\n"), nil, ErrContentLength},
		{"HC-23 a negative length", get("Content-Length: -5\r\n"), nil, ErrContentLength},
		{"HC-23 an empty length", get("Content-Length:\r\n"), nil, ErrContentLength},
		{"HC-23 hexadecimal", get("Content-Length: 0x5\r\n"), nil, ErrContentLength},
		{"HC-23 a fraction", get("Content-Length: 5.0\r\n"), nil, ErrContentLength},
		{"HC-23 a list of equal values", get("Content-Length: 5, 5\r\n"), nil, ErrContentLength},
		{"HC-23 equal fields", get("Content-Length: 5\r\nContent-Length: 5\r\n"), nil, ErrContentLength},
		{"HC-23 differing fields", get("Content-Length: 5\r\ncontent-length: 6\r\n"), nil, ErrContentLength},
		{"HC-23 over 63 bits", get("Content-Length: 9223372036854775808\r\n"), nil, ErrContentLength},
		{"HC-23 far over 63 bits", get("Content-Length: 99999999999999999999999999\r\n"), nil, ErrContentLength},
		{"HC-23 one over 64 bits, which wraps to one", get("Content-Length: 18446744073709551617\r\n"), nil, ErrContentLength},
		{"HC-23 a space inside", get("Content-Length: 1 0\r\n"), nil, ErrContentLength},
		{"HC-28 CONNECT with a length", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", nil, ErrConnectBody},
		{"HC-28 CONNECT with a coding", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", nil, ErrTransferEncoding},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, e, _ := parseRequestText(t, tt.in, defaults(tt.opts))
			if n != 0 || e != tt.want {
				t.Errorf("n %d, %q; want %q", n, e.Explain(), tt.want.Explain())
			}
		})
	}
}

func TestRequestAccepted(t *testing.T) {
	http10 := func(o *Options) { o.AllowHTTP10 = true }
	tests := []struct {
		name string
		in   string
		opts func(o *Options)
		want string // as describeRequest
	}{
		{
			"HC-1 origin form", "GET /a?b=c HTTP/1.1\r\nHost: x:8080\r\nAccept: */*\r\n\r\n", nil,
			"GET(1) scheme= authority=x:8080 path=/a?b=c HTTP/1.1 none(-1) [Accept=*/*] dropped=0",
		},
		{
			"HC-1 every byte a target may hold", "GET /\"<>\\^`{|}~!$&'()*+,;=:@%zz[]#f HTTP/1.1\r\nHost: x\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/\"<>\\^`{|}~!$&'()*+,;=:@%zz[]#f HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-1 asterisk form", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", nil,
			"OPTIONS(7) scheme= authority=x path=* HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-1 authority form", "CONNECT [::1]:443 HTTP/1.1\r\nHost: other\r\nContent-Length: 0\r\n\r\n", nil,
			"CONNECT(6) scheme= authority=[::1]:443 path= HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-2 absolute form wins over Host", "GET HTTP://h:81/p?q HTTP/1.1\r\nHost: other\r\n\r\n", nil,
			"GET(1) scheme=http authority=h:81 path=/p?q HTTP/1.1 none(-1) absolute  dropped=0",
		},
		{
			"RT-122 absolute form without a path", "GET https://h HTTP/1.1\r\nHost: other\r\n\r\n", nil,
			"GET(1) scheme=https authority=h path=/ HTTP/1.1 none(-1) absolute  dropped=0",
		},
		{
			"RT-122 absolute form with only a query", "GET http://h?q=1 HTTP/1.1\r\nHost: other\r\n\r\n", nil,
			"GET(1) scheme=http authority=h path=/?q=1 HTTP/1.1 none(-1) absolute  dropped=0",
		},
		{
			"RT-121 absolute form kept whole", "GET http://h/p HTTP/1.1\r\nHost: other\r\n\r\n", func(o *Options) { o.AllowAbsoluteURL = false },
			"GET(1) scheme= authority=other path=http://h/p HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-4 HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", http10,
			"GET(1) scheme= authority= path=/ HTTP/1.0 none(-1) close  dropped=0",
		},
		{
			"HC-55 HTTP/1.0 with an empty Host", "GET / HTTP/1.0\r\nHost:\r\n\r\n", http10,
			"GET(1) scheme= authority= path=/ HTTP/1.0 none(-1) close  dropped=0",
		},
		{
			"HC-36 HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", http10,
			"GET(1) scheme= authority= path=/ HTTP/1.0 none(-1) [Connection=Keep-Alive] dropped=0",
		},
		{
			"HC-36 HTTP/1.0 has no upgrade and no expectation", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\nExpect: 100-continue\r\n\r\n", http10,
			"GET(1) scheme= authority= path=/ HTTP/1.0 none(-1) close [Connection=upgrade][Upgrade=a][Expect=100-continue] dropped=0",
		},
		{
			"HC-36 close among other options, in any case", "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: foo , CLOSE\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) close [Connection=keep-alive][Connection=foo , CLOSE] dropped=0",
		},
		{
			"HC-36 Proxy-Connection counts for nothing", "GET / HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [Proxy-Connection=close] dropped=0",
		},
		{
			"HC-5 a registered method of another kind", "PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", nil,
			"PROPFIND(0) scheme= authority=x path=/ HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-5 any token with allow_custom_methods", "br!ew / HTTP/1.1\r\nHost: x\r\n\r\n", func(o *Options) { o.AllowCustomMethods = true },
			"br!ew(0) scheme= authority=x path=/ HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-6 bare LF ends lines", "GET / HTTP/1.1\nHost: x\na: b\n\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [a=b] dropped=0",
		},
		{
			"HC-7 empty lines first", "\r\n\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-10 white space round values", "GET / HTTP/1.1\r\nHost:\t x \t\r\na:\r\nb: \t \r\nc: d\te \r\nf:g\x80\xff\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [a=][b=][c=d\te][f=g\x80\xff] dropped=0",
		},
		{
			"HC-10 every token byte", "GET / HTTP/1.1\r\nHost: x\r\n!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [!#$%&'*+-.^_`|~09azAZ=1] dropped=0",
		},
		{
			"HC-11 a head of just the limit", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(o *Options) { o.MaxHeadBytes = 27 },
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-12 just the limit, Host counted", "GET / HTTP/1.1\r\nHost: x\r\na: 1\r\n\r\n", func(o *Options) { o.MaxFields = 2 },
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [a=1] dropped=0",
		},
		{
			"HC-14 underscores allowed", "GET / HTTP/1.1\r\nHost: x\r\na_b: 1\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [a_b=1] dropped=0",
		},
		{
			"HC-14 underscores dropped", "GET / HTTP/1.1\r\nHost: x\r\na_b: 1\r\nc: 2\r\n_: 3\r\n\r\n", func(o *Options) { o.Underscores = UnderscoreDrop },
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [c=2] dropped=2",
		},
		{
			"HC-14 content_length is not Content-Length", "POST / HTTP/1.1\r\nHost: x\r\nContent_Length: 5\r\n\r\n", nil,
			"POST(3) scheme= authority=x path=/ HTTP/1.1 none(-1) [Content_Length=5] dropped=0",
		},
		{
			"HC-20 allow_chunked_length drops the length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", func(o *Options) { o.AllowChunkedLength = true },
			"POST(3) scheme= authority=x path=/ HTTP/1.1 chunked(-1) [Transfer-Encoding=chunked] dropped=0",
		},
		{
			"HC-21 Chunked in any case", "POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: ChUnKeD\r\n\r\n", nil,
			"POST(3) scheme= authority=x path=/ HTTP/1.1 chunked(-1) [transfer-encoding=ChUnKeD] dropped=0",
		},
		{
			"HC-23 the largest length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n", nil,
			"POST(3) scheme= authority=x path=/ HTTP/1.1 length(9223372036854775807) [Content-Length=9223372036854775807] dropped=0",
		},
		{
			"HC-23 leading zeros are digits", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 007\r\n\r\n", nil,
			"POST(3) scheme= authority=x path=/ HTTP/1.1 length(7) [Content-Length=007] dropped=0",
		},
		{
			"HC-27 POST without framing has no body", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", nil,
			"POST(3) scheme= authority=x path=/ HTTP/1.1 none(-1)  dropped=0",
		},
		{
			"HC-27 a length of zero is no body", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", nil,
			"PUT(4) scheme= authority=x path=/ HTTP/1.1 none(0) [Content-Length=0] dropped=0",
		},
		{
			"HC-39 the expectation, in any case", "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", nil,
			"PUT(4) scheme= authority=x path=/ HTTP/1.1 length(1) expect [Expect=100-Continue][Content-Length=1] dropped=0",
		},
		{
			"HC-39 another expectation", "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue, x\r\n\r\n", nil,
			"PUT(4) scheme= authority=x path=/ HTTP/1.1 none(-1) [Expect=100-continue, x] dropped=0",
		},
		{
			"UP-1 an upgrade", "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) upgrade [Connection=keep-alive, Upgrade][Upgrade=websocket] dropped=0",
		},
		{
			"UP-1 Upgrade that Connection does not nominate", "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", nil,
			"GET(1) scheme= authority=x path=/ HTTP/1.1 none(-1) [Upgrade=websocket] dropped=0",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, e, h := parseRequestText(t, tt.in+"next", defaults(tt.opts))
			if n != len(tt.in) || e != OK {
				t.Fatalf("n %d of %d, %q", n, len(tt.in), e.Explain())
			}
			if got := describeRequest(h); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			if string(h.Base()) != tt.in {
				t.Errorf("the base is %q", h.Base())
			}
		})
	}
}

func TestMethods(t *testing.T) {
	for m := header.MethodGet; m <= header.MethodPatch; m++ {
		in := methodNames[m] + " / HTTP/1.1\r\nHost: x\r\n\r\n"
		if m == header.MethodConnect {
			in = "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"
		}
		n, e, h := parseRequestText(t, in, defaults(nil))
		if n != len(in) || h.Method != m || h.Text(h.MethodText) != methodNames[m] {
			t.Errorf("%s: %d %q, read as %d %s", methodNames[m], n, e.Explain(), h.Method, h.Bytes(h.MethodText))
		}
	}
}

// TestRequestPrefixesNeedMore cuts a head everywhere: no prefix may be an answer.
func TestRequestPrefixesNeedMore(t *testing.T) {
	in := "\r\nPOST http://h/a HTTP/1.1\r\nHost: x\r\nUser-Agent: a b\r\nContent-Length: 3\r\n\r\n"
	o := DefaultOptions()
	for end := range in {
		for _, seen := range []int{0, end / 2, max(end-1, 0)} {
			var h header.Head
			if n, e := ParseRequest(exact(in[:end]), seen, &o, &h); n != 0 || e != OK {
				t.Fatalf("after %q with %d seen: n %d, %q", in[:end], seen, n, e.Explain())
			}
		}
	}
}

func TestRefusedRequestsLeaveSomethingToLog(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"a refused version", "GET /a HTTP/1.0\r\n\r\n", "GET /a"},
		{"a refused method", "BREW /a HTTP/1.1\r\n\r\n", "BREW "},
		{"a refused field", "GET /a HTTP/1.1\r\nHost: x\r\na\r\n\r\n", "GET /a"},
		{"a refused target", "GET a HTTP/1.1\r\n\r\n", "GET a"},
		{"a head too large", "GET /a HTTP/1.1\r\nHost: x\r\nb: " + strings.Repeat("c", 61<<10), "GET /a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, e, h := parseRequestText(t, tt.in, defaults(nil))
			if got := h.Text(h.MethodText) + " " + h.Text(h.Path); e == OK || got != tt.want {
				t.Errorf("%q: %q", e.Explain(), got)
			}
		})
	}
}

// TestSlowRequestIsLinear counts what a head of many short lines costs when it comes byte by byte: the
// lines are counted through h, which parseFields fills anew for each completed line only.
func TestSlowRequestIsLinear(t *testing.T) {
	var in strings.Builder
	in.WriteString("GET / HTTP/1.1\r\nHost: x\r\n")
	for i := range 90 {
		fmt.Fprintf(&in, "x-%d: %d\r\n", i, i)
	}
	text, o := in.String(), DefaultOptions()
	for end := 1; end <= len(text); end++ {
		var h header.Head
		if n, e := ParseRequest(exact(text[:end]), end-1, &o, &h); n != 0 || e != OK {
			t.Fatalf("at %d: %d %q", end, n, e.Explain())
		}
		if h.Count() > 1 {
			t.Fatalf("at %d: %d lines were read again", end, h.Count())
		}
	}
}

func TestErrTableIsWhole(t *testing.T) {
	for e := OK + 1; e < numErrs; e++ {
		if e.String() == "" || e.Explain() == "" || e.Body() == "Unknown" || e.Status() < 400 {
			t.Errorf("Err %d: %q %q %d %q", e, e.String(), e.Explain(), e.Status(), e.Body())
		}
	}
	if OK.String() != "" || OK.Status() != 200 {
		t.Error("OK is not empty")
	}
}
