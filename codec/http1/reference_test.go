package http1

import (
	"errors"
	"strconv"
	"strings"
)

// reference is a second opinion on how a message is framed, written for plainness: it splits text at
// line ends and looks at the two framing fields, sharing nothing with the parser.
type reference struct {
	lengths, codings []string
	fields           int
	head             int // bytes of the head
}

// readReference splits the head at the front of in, which the parser has accepted.
func readReference(in string) (r reference, err error) {
	rest := in
	for strings.HasPrefix(rest, "\n") || strings.HasPrefix(rest, "\r\n") {
		rest = rest[strings.IndexByte(rest, '\n')+1:]
	}
	_, rest, _ = strings.Cut(rest, "\n")
	for {
		line, after, whole := strings.Cut(rest, "\n")
		if !whole {
			return r, errors.New("the head has no end")
		}
		rest = after
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			r.head = len(in) - len(rest)
			return r, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(line, "\r\x00") || strings.ContainsAny(name, " \t") {
			return r, errors.New("a line is no field: " + strconv.Quote(line))
		}
		r.fields++
		switch strings.ToLower(name) {
		case "content-length":
			r.lengths = append(r.lengths, strings.Trim(value, " \t"))
		case "transfer-encoding":
			r.codings = append(r.codings, strings.Trim(value, " \t"))
		}
	}
}

// framing gives the only reading allowed of the two fields: "none", "chunked" or the length in digits.
func (r reference) framing() (string, error) {
	switch {
	case len(r.lengths) == 0 && len(r.codings) == 0:
		return "none", nil
	case len(r.lengths) > 0 && len(r.codings) > 0:
		return "", errors.New("two framings")
	case len(r.lengths)+len(r.codings) > 1:
		return "", errors.New("a framing field is repeated")
	case len(r.codings) == 1:
		if strings.ToLower(r.codings[0]) != "chunked" {
			return "", errors.New("not exactly chunked")
		}
		return "chunked", nil
	}
	for _, c := range r.lengths[0] {
		if c < '0' || c > '9' {
			return "", errors.New("not only digits")
		}
	}
	n, err := strconv.ParseUint(r.lengths[0], 10, 63)
	return strconv.FormatUint(n, 10), err
}

// smuggling are the classics, as seeds: each ends in what an attacker would like to be a second request.
var smuggling = []string{
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET /evil HTTP/1.1\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer\xffEncoding: chunked\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 6\r\n\r\nGET /a",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6, 6\r\n\r\nGET /a",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +6\r\n\r\nGET /a",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x6\r\n\r\nGET /a",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\x00\r\n\r\nGET /a",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length\x00: 6\r\n\r\nGET /a",
	"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\nX: y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nConnection: content-length\r\nContent-Length: 6\r\n\r\nGET /a",
	"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nxx\r\nabc\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nabc\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 6\r\n\r\nGET /a",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /a",
	"GET http://x/ HTTP/1.1\r\nHost: evil\r\n\r\n",
	"GET http://a@b/ HTTP/1.1\r\nHost: evil\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nHost: evil\r\n\r\n",
	"GET /x HTTP/1.1\nHost: x\n\nGET /evil HTTP/1.1\r\n\r\n",
	"GET /\r\nX: HTTP/1.1\r\nHost: x\r\n\r\n",
	"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nGET /a",
	"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
	"\r\nPUT /up?a=b HTTP/1.1\r\nhost: x:80\r\nTE: trailers\r\nConnection: TE, close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
}
