package sniff

import (
	"bytes"
	"crypto/tls"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// cutsOf makes ascending places to end a read at.
func cutsOf(places []byte, length int) []int {
	var cuts []int
	for _, p := range places {
		cuts = append(cuts, int(p)*length/255)
	}
	slices.Sort(cuts)
	return cuts
}

// FuzzClientHello: reads cut anywhere give the same answer, and what the server of crypto/tls makes of
// the bytes agrees with it.
func FuzzClientHello(f *testing.F) {
	for _, tt := range cryptoTLS {
		f.Add([]byte(clientHello(f, tt.config)), []byte{1, 128})
	}
	body := with(serverName("A.b"), protocols("h2", "x"), extension(extSupportedVersions, vec8(list16(0x0304))),
		extension(extSupportedGroups, vec16(list16(29))), extension(extSignatures, vec16(list16(0x0403))), extension(extPointFormats, vec8("\x00")))
	f.Add([]byte(records(body, 1)), []byte{200})
	f.Add([]byte(records(body, 20)), []byte{10, 20, 30})
	f.Add([]byte(wire(with(serverName("a."), extension(extServerName, "")))), []byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{100})
	f.Fuzz(func(t *testing.T, in []byte, places []byte) {
		if len(in) > 4096 {
			return
		}
		text := string(in)
		for _, maxBytes := range []int{1 << 24, 200} {
			var whole ClientHello
			s := parseCut(text, nil, maxBytes, &whole)
			for _, cuts := range [][]int{everyByte(text), cutsOf(places, len(text))} {
				var h ClientHello
				if s2 := parseCut(text, cuts, maxBytes, &h); s != s2 || describe(&whole) != describe(&h) {
					t.Fatalf("cuts %v: %v %s\nwhole: %v %s", cuts, s2, describe(&h), s, describe(&whole))
				}
			}
			if maxBytes > len(in) {
				agrees(t, text, s, &whole)
			}
		}
	})
}

// agrees holds a hello against what crypto/tls reads. It refuses more, such as bad key shares, and
// minds less: the record's version, the bounds of some lists.
func agrees(t *testing.T, in string, s Status, h *ClientHello) {
	t.Helper()
	info := serverHears(in)
	if info == nil {
		return
	}
	if s != TLS {
		if !strictlyFramed(in) {
			return
		}
		t.Fatalf("%v; crypto/tls reads %q %q", s, info.ServerName, info.SupportedProtos)
	}
	if name := string(h.ServerName()); name != strings.ToLower(info.ServerName) && !h.BadServerName {
		t.Fatalf("server name %q; crypto/tls reads %q", name, info.ServerName)
	}
	if h.BadServerName == hostPattern.MatchString(info.ServerName) && info.ServerName != "" {
		t.Fatalf("server name %q is bad: %v", info.ServerName, h.BadServerName)
	}
	var names []string
	list := h.Protocols()
	for name, ok := list.Next(); ok; name, ok = list.Next() {
		names = append(names, string(name))
	}
	if !slices.Equal(names, info.SupportedProtos) {
		t.Fatalf("protocols %q; crypto/tls reads %q", names, info.SupportedProtos)
	}
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		// crypto/tls leaves out what its configuration does not allow.
		if slices.Contains(info.SupportedVersions, v) && !h.Supports(v) {
			t.Fatalf("version %x; crypto/tls reads %x", v, info.SupportedVersions)
		}
	}
}

var hostPattern = regexp.MustCompile(`^(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}$`)

// strictlyFramed says whether every record is a handshake of version 3, and the hello keeps to the
// bounds crypto/tls does not check: session id, ciphers, compression methods.
func strictlyFramed(in string) bool {
	var joined []byte
	for b := []byte(in); len(b) > 0; {
		if b[0] != recordHandshake || len(b) < 5 || b[1] != 3 {
			return false
		}
		n := min(len(b)-5, int(b[3])<<8|int(b[4]))
		joined = append(joined, b[5:5+n]...)
		b = b[5+n:]
	}
	c := cursor{b: joined}
	c.take(handshakeHeaderBytes + 2 + randomBytes)
	session := c.uint8()
	c.take(session)
	ciphers := int(c.uint16())
	c.take(ciphers)
	return !c.bad && session <= maxSessionIDBytes && ciphers > 0 && c.uint8() > 0
}

var requestLine = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} [\x21-\x7e]+ HTTP/1\\.([01])\r\n")

// FuzzDetectHTTP: reads cut anywhere give the same answer, which is what the grammar says.
func FuzzDetectHTTP(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a HTTP/1.0\r\n", preface, preface[:20] + "x", "PRI * HTTP/1.1\r\n",
		"\x16\x03\x01\x00\x05", "GET /" + strings.Repeat("a", 90) + " HTTP/1.1\r\n", "GET / HTTP/1.1\n", "SSH-2.0-x\r\n",
	} {
		f.Add([]byte(s), []byte{50, 200}, uint8(64))
	}
	f.Fuzz(func(t *testing.T, in []byte, places []byte, limit uint8) {
		if len(in) > 1024 {
			return
		}
		maxBytes := int(limit) + 1
		text := string(in)
		want := detectCut(text, nil, maxBytes)
		for _, cuts := range [][]int{everyByte(text), cutsOf(places, len(text))} {
			if got := detectCut(text, cuts, maxBytes); got != want {
				t.Fatalf("cuts %v: %v, whole: %v", cuts, got, want)
			}
		}
		line := in[:min(len(in), maxBytes)]
		found := Undecided
		if m := requestLine.FindSubmatch(line); m != nil {
			found = map[byte]Protocol{'0': HTTP10, '1': HTTP11}[m[1][0]]
		} else if bytes.HasPrefix(line, []byte(preface)) {
			found = H2C
		}
		if is := want == HTTP10 || want == HTTP11 || want == H2C; is && found != want || !is && found != Undecided {
			t.Fatalf("%v, by the grammar %v", want, found)
		}
		if want == TooLong && len(in) < maxBytes || want == Undecided && len(in) >= maxBytes {
			t.Fatalf("%v of %d bytes with a limit of %d", want, len(in), maxBytes)
		}
		if want == Undecided && !canBecomeHTTP(text) {
			t.Fatal("undecided, but nothing makes it HTTP")
		}
	})
}

// canBecomeHTTP says whether some end makes a request line or the preface of in.
func canBecomeHTTP(in string) bool {
	if strings.HasPrefix(preface, in) {
		return true
	}
	for _, end := range []string{"M / HTTP/1.1\r\n", " / HTTP/1.1\r\n", "/ HTTP/1.1\r\n", " HTTP/1.1\r\n", "HTTP/1.1\r\n"} {
		for i := range end {
			if requestLine.MatchString(in + end[i:]) {
				return true
			}
		}
	}
	return false
}
