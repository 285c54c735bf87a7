package bench

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestResponse(t *testing.T) {
	for _, tc := range []struct {
		name, wire string
		headOnly   bool
		status     int
		body       int64
		closes     bool
		ends       bool // complete by the bytes alone
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 200, 5, false, true},
		{"length without space, lower case", "HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello", false, 200, 5, false, true},
		{"empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 200, 0, false, true},
		{"body cut short", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", false, 200, 4, false, false},
		{"no phrase", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", false, 200, 2, false, true},
		{"close", "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok", false, 200, 2, true, true},
		{"HTTP/1.0 closes", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 200, 2, true, true},
		{"HTTP/1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", false, 200, 2, false, true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", false, 200, 15, false, true},
		{"chunked with trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nSum: 1\r\n\r\n", false, 200, 1, false, true},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nhello", false, 200, 5, true, false},
		{"answer to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, 200, 0, false, true},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, 0, false, true},
		{"interim first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false, 200, 1, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for step := 1; step <= len(tc.wire); step++ {
				r, used, done := feedIn(t, tc.wire, tc.headOnly, step)
				if used != len(tc.wire) || done != tc.ends || r.status != tc.status || r.body != tc.body || r.closes != tc.closes {
					t.Fatalf("in pieces of %d: used %d of %d, done %t, status %d, body %d, closes %t",
						step, used, len(tc.wire), done, r.status, r.body, r.closes)
				}
			}
		})
	}
}

func feedIn(t *testing.T, wire string, headOnly bool, step int) (r *response, used int, done bool) {
	t.Helper()
	r = &response{}
	r.begin(headOnly)
	for used < len(wire) && !done {
		n, d, err := r.feed([]byte(wire[used:min(len(wire), used+step)]))
		if err != nil {
			t.Fatalf("in pieces of %d at %d: %v", step, used, err)
		}
		used, done = used+n, d
	}
	return r, used, done
}

func TestResponseRefuses(t *testing.T) {
	for name, wire := range map[string]string{
		"not HTTP":         "SSH-2.0-x\r\n\r\n",
		"HTTP/2":           "HTTP/2.0 200 OK\r\n\r\n",
		"bad status":       "HTTP/1.1 2x0 OK\r\n\r\n",
		"bad chunk size":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"empty chunk size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
		"endless head":     "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", maxHeadBytes/6+1),
	} {
		t.Run(name, func(t *testing.T) {
			var r response
			r.begin(false)
			if _, _, err := r.feed([]byte(wire)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// FuzzResponse: where net/http reads a whole response, response counts the same body and leaves the same
// rest, in one piece or byte by byte.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nrest"))
	f.Add([]byte("HTTP/1.0 404 Not Found\r\n\r\nnothing"))
	f.Add([]byte("HTTP/1.0 200 \r\nTrAnsfer-EnCoding:\r\n\r\n0\n\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		one, used1, done1, err1 := feedAll(wire, len(wire)+1)
		dribbled, used2, done2, err2 := feedAll(wire, 1)
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("in one piece %v, byte by byte %v", err1, err2)
		}
		if err1 == nil && (used1 != used2 || done1 != done2 || one.body != dribbled.body) {
			t.Fatalf("in one piece %d %t %d, byte by byte %d %t %d", used1, done1, one.body, used2, done2, dribbled.body)
		}
		src := bufio.NewReader(bytes.NewReader(wire))
		res, err := http.ReadResponse(src, nil)
		if err != nil || res.StatusCode < 200 || !done1 || !strictHead(wire) {
			return
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err == nil && n != one.body {
			t.Fatalf("net/http reads %d body bytes, we %d", n, one.body)
		}
	})
}

// strictHead reports whether the head is of the plain kind proxies write: net/http also accepts bare LF,
// lists of equal lengths and folded lines.
func strictHead(wire []byte) bool {
	head, _, _ := bytes.Cut(wire, crlfcrlf)
	lower := bytes.ToLower(head)
	return bytes.Count(head, []byte("\n")) == bytes.Count(head, []byte("\r\n")) &&
		bytes.Count(lower, []byte("content-length")) < 2 &&
		bytes.Count(lower, []byte("transfer-encoding")) < 2 &&
		!bytes.Contains(head, []byte("\n ")) && !bytes.Contains(head, []byte("\n\t"))
}

func feedAll(wire []byte, step int) (r *response, used int, done bool, err error) {
	r = &response{}
	r.begin(false)
	for used < len(wire) && !done {
		var n int
		n, done, err = r.feed(wire[used:min(len(wire), used+step)])
		used += n
		if err != nil {
			return r, used, false, err
		}
	}
	return r, used, done, nil
}
