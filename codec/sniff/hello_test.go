package sniff

import (
	"crypto/tls"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStatusOfFirstBytes(t *testing.T) {
	hello := with(serverName("a.example"))
	tests := []struct {
		name string
		in   string
		want Status
	}{
		{"nothing yet", "", NeedMore},
		{"the first byte of a record", "\x16", NeedMore},
		{"the first byte of HTTP", "G", NotTLS},
		{"the first byte of an SSL 2 hello", "\x80", NotTLS},
		{"an alert record", "\x15", NotTLS},
		{"a record of no SSL 3 family, at its second byte", "\x16\x02", NotTLS},
		{"a record larger than 16 KiB, at its fourth byte", "\x16\x03\x01\x41", NotTLS},
		{"a record larger by one byte", "\x16\x03\x01\x40\x01", NotTLS},
		{"a record of exactly 16 KiB", "\x16\x03\x01\x40\x00", NeedMore},
		{"an empty first record", "\x16\x03\x01\x00\x00", NotTLS},
		{"a ServerHello", "\x16\x03\x01\x00\x10\x02", NotTLS},
		{"any minor version of the record", "\x16\x03\xff" + wire(hello)[3:], TLS},
		{"a hello less its last byte", wire(hello)[:len(wire(hello))-1], NeedMore},
		{"a hello", wire(hello), TLS},
		{"a hello and early data", wire(hello) + "\x17\x03\x03\x00\x01x", TLS},
		{"a hello and bytes of no record", wire(hello) + "GET", TLS},
		{"a hello with more of its record after it", record(message(hello) + "more"), TLS},
		{"a hello in records of one byte", records(hello, 1), TLS},
		{"a hello in records of three bytes", records(hello, 3), TLS},
		{"a hello in records of four bytes", records(hello, 4), TLS},
		{"a hello in two records", records(hello, len(hello)), TLS},
		{"a hello whose second record is due", records(hello, len(hello))[:5+len(hello)], NeedMore},
		{"another type of record inside a hello", records(hello, 50)[:55] + "\x15", Malformed},
		{"another family of record inside a hello", records(hello, 50)[:55] + "\x16\x02", Malformed},
		{"an empty record inside a hello", records(hello, 50)[:55] + "\x16\x03\x01\x00\x00", Malformed},
		{"a record larger than 16 KiB inside a hello", records(hello, 50)[:55] + "\x16\x03\x01\x50", Malformed},
		{"a hello that says it has 64 KiB", "\x16\x03\x01\x01\x00\x01\x01\x00\x00", TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, h := parse(t, tt.in, 0)
			if got != tt.want {
				t.Fatalf("%v, want %v", got, tt.want)
			}
			if got == TLS && string(h.ServerName()) != "a.example" {
				t.Errorf("server name %q", h.ServerName())
			}
		})
	}
}

func TestLimit(t *testing.T) {
	hello := with(extension(21, strings.Repeat("\x00", 1000)), serverName("a.example"))
	one, many := wire(hello), records(hello, 100)
	lastFull := len(many) - len(many)%105 - 105 // the last record of 100 bytes; a shorter one follows
	tests := []struct {
		name string
		in   string
		max  int
		want Status
		at   int // bytes that the answer takes
	}{
		{"the hello fits exactly", one, len(one), TLS, len(one)},
		{"one byte too large, known from its header", one, len(one) - 1, TooLarge, 9},
		{"the records around it count", many, len(many), TLS, len(many)},
		{"one byte too large, known when one more record is sure", many, len(many) - 1, TooLarge, lastFull + 5},
		{"what follows the hello does not count", one + strings.Repeat("x", 5000), len(one), TLS, len(one)},
		{"the default is 16 KiB", wire(with(extension(21, strings.Repeat("\x00", 16328)))), 0, TLS, 16 << 10},
		{"and no more", wire(with(extension(21, strings.Repeat("\x00", 16329)))), 0, TooLarge, 9},
		{"a larger limit", records(with(extension(21, strings.Repeat("\x00", 40000))), 1<<14), 1 << 16, TLS, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h ClientHello
			if got := ParseClientHello(exact(tt.in), tt.max, &h); got != tt.want {
				t.Fatalf("%v, want %v", got, tt.want)
			}
			if tt.at == 0 {
				return
			}
			if got := ParseClientHello(exact(tt.in[:tt.at]), tt.max, &h); got != tt.want {
				t.Errorf("%v after %d bytes, want %v", got, tt.at, tt.want)
			}
			if got := ParseClientHello(exact(tt.in[:tt.at-1]), tt.max, &h); got != NeedMore {
				t.Errorf("%v after %d bytes, want that more are needed", got, tt.at-1)
			}
		})
	}
}

func TestHelloFields(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3)
	edit := func(change func(f *fields)) string {
		f := plain("")
		change(&f)
		return f.body()
	}
	malformed := "malformed"
	tests := []struct {
		name string
		body string
		want string // server name and protocols, "(bad)" for a name that is none
	}{
		{"no extensions", with(), ""},
		{"no block of extensions", edit(func(f *fields) { f.noBlock = true }), ""},
		{"a server name", with(serverName("www.example.com")), "www.example.com"},
		{"TCP-82 a server name in lower case", with(serverName("WWW.Example.COM")), "www.example.com"},
		{"a server name of letters, digits and marks", with(serverName("a-b_c.1")), "a-b_c.1"},
		{"the longest server name", with(serverName(long + strings.Repeat("b", 61))), long + strings.Repeat("b", 61)},
		{"a server name too long", with(serverName(long + strings.Repeat("b", 62))), "(bad)"},
		{"a label too long", with(serverName(strings.Repeat("a", 64))), "(bad)"},
		{"a trailing dot", with(serverName("example.com.")), "(bad)"},
		{"an empty label", with(serverName("a..b")), "(bad)"},
		{"a leading dot", with(serverName(".a")), "(bad)"},
		{"a wildcard", with(serverName("*.example.com")), "(bad)"},
		{"NUL in a server name", with(serverName("a\x00.example.com")), "(bad)"},
		{"an IPv6 address for a server name", with(serverName("::1")), "(bad)"},
		{"an empty server name", with(serverName("")), malformed},
		{"an empty list of server names", with(extension(extServerName, vec16(""))), malformed},
		{"a server name extension of no bytes", with(extension(extServerName, "")), malformed},
		{"a name of another type", with(extension(extServerName, vec16("\x01"+vec16("x")))), ""},
		{"a name of another type before the host", with(extension(extServerName, vec16("\x01"+vec16("x")+"\x00"+vec16("y")))), "y"},
		{"two host names", with(extension(extServerName, vec16("\x00"+vec16("x")+"\x00"+vec16("y")))), malformed},
		{"bytes after the list of server names", with(extension(extServerName, vec16("\x00"+vec16("x"))+"z")), malformed},
		{"a server name longer than its list", with(extension(extServerName, vec16("\x00\x00\x09x"))), malformed},

		{"one protocol", with(protocols("h2")), " h2"},
		{"protocols in order", with(serverName("x"), protocols("h2", "http/1.1", "a b")), "x h2 http/1.1 a b"},
		{"an empty protocol", with(protocols("h2", "")), malformed},
		{"no protocols", with(protocols()), malformed},
		{"a protocol cut short", with(extension(extProtocols, vec16("\x05ab"))), malformed},
		{"a list of protocols cut short", with(extension(extProtocols, "\x00\x09\x02h2")), malformed},

		{"an extension twice", with(serverName("x"), serverName("x")), malformed},
		{"an unknown extension twice", with(extension(999, ""), extension(999, "")), malformed},
		{"an extension cut short", with(u16(999) + u16(5) + "abc"), malformed},
		{"three bytes for an extension", with("abc"), malformed},
		{"bytes after the extensions", with() + "x", malformed},
		{"extensions longer than the hello", with()[:len(with())-2] + "\x00\x05", malformed},
		{"the length of extensions cut short", with()[:len(with())-1], malformed},
		{"a session id of 32 bytes", edit(func(f *fields) { f.session = strings.Repeat("s", 32) }), ""},
		{"a session id of 33 bytes", edit(func(f *fields) { f.session = strings.Repeat("s", 33) }), malformed},
		{"no ciphers", edit(func(f *fields) { f.ciphers = "" }), malformed},
		{"half a cipher", edit(func(f *fields) { f.ciphers = "\x13\x01\x13" }), malformed},
		{"no compression method", edit(func(f *fields) { f.methods = "" }), malformed},
		{"a hello of no bytes", "", malformed},
		{"a hello that ends in the random", with()[:20], malformed},
		{"half a group", with(extension(extSupportedGroups, vec16("\x00\x17\x00"))), malformed},
		{"no groups", with(extension(extSupportedGroups, vec16(""))), malformed},
		{"no point formats", with(extension(extPointFormats, vec8(""))), malformed},
		{"half a signature algorithm", with(extension(extSignatures, vec16("\x04"))), malformed},
		{"half a version", with(extension(extSupportedVersions, vec8("\x03"))), malformed},
		{"no versions", with(extension(extSupportedVersions, vec8(""))), malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, in := range []string{wire(tt.body), records(tt.body, 1), records(tt.body, 37)} {
				s, h := parse(t, in, 0)
				got := malformed
				if s == TLS {
					got, _, _ = strings.Cut(describe(h), " 771,")
				}
				if got != tt.want {
					t.Errorf("%q, want %q", got, tt.want)
				}
				if s == TLS && h.Size != len(in) {
					t.Errorf("%d bytes, want %d", h.Size, len(in))
				}
			}
		})
	}
}

func TestVersions(t *testing.T) {
	tests := []struct {
		name    string
		legacy  int
		offered []uint16
		want    []uint16 // supported of those asked
		highest uint16
	}{
		{"TLS 1.2 without the extension", 0x0303, nil, []uint16{0x0301, 0x0302, 0x0303}, 0x0303},
		{"TLS 1.0 without the extension", 0x0301, nil, []uint16{0x0301}, 0x0301},
		{"SSL 3", 0x0300, nil, nil, 0x0300},
		{"the extension alone counts", 0x0303, []uint16{0x0304}, []uint16{0x0304}, 0x0304},
		{"GREASE is not a version", 0x0303, []uint16{0xfafa, 0x0303, 0x0304}, []uint16{0x0303, 0x0304}, 0x0304},
		{"nothing but GREASE", 0x0303, []uint16{0x0a0a}, nil, 0x0303},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := plain("")
			f.version = tt.legacy
			if tt.offered != nil {
				f.extensions = extension(extSupportedVersions, vec8(list16(tt.offered...)))
			}
			s, h := parse(t, wire(f.body()), 0)
			if s != TLS || int(h.LegacyVersion) != tt.legacy || h.MaxVersion() != tt.highest {
				t.Errorf("%v, legacy version %x, highest %x", s, h.LegacyVersion, h.MaxVersion())
			}
			var got []uint16
			for v := uint16(0x0300); v <= 0x0305; v++ {
				if h.Supports(v) {
					got = append(got, v)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("supports %x, want %x", got, tt.want)
			}
		})
	}
}

func TestParseForgetsTheLastHello(t *testing.T) {
	var h ClientHello
	full := wire(with(serverName("a.b"), protocols("h2"), extension(extSupportedGroups, vec16(list16(29))),
		extension(extPointFormats, vec8("\x00")), extension(extSignatures, vec16(list16(0x0403))),
		extension(extSupportedVersions, vec8(list16(0x0304)))))
	for _, next := range []string{wire(plain("").body()), "GET / HTTP/1.1", wire(with(serverName("*"))), wire("")} {
		if ParseClientHello([]byte(full), 0, &h) != TLS {
			t.Fatal("the full hello is refused")
		}
		var fresh ClientHello
		s, s2 := ParseClientHello([]byte(next), 0, &h), ParseClientHello([]byte(next), 0, &fresh)
		if s != s2 || describe(&h) != describe(&fresh) || h.Size != fresh.Size || h.Supports(0x0304) != fresh.Supports(0x0304) {
			t.Errorf("%q: %v %s, by itself %v %s", next, s, describe(&h), s2, describe(&fresh))
		}
	}
}

func TestJoinIsTheCallersRoom(t *testing.T) {
	body := with(serverName("a.example"), extension(21, strings.Repeat("\x00", 500)))
	room := make([]byte, 0, 1024)
	h := ClientHello{Join: room}
	if s := ParseClientHello([]byte(records(body, 100)), 0, &h); s != TLS {
		t.Fatal(s)
	}
	if &h.Join[0] != &room[:1][0] || string(h.Join) != message(body) {
		t.Error("the hello was not joined in the room given")
	}
	h.Join = nil
	if s := ParseClientHello([]byte(wire(body)), 0, &h); s != TLS || h.Join != nil {
		t.Errorf("%v; a hello in one record was copied", s)
	}
}

var cryptoTLS = []struct {
	name   string
	config *tls.Config
	want   string
}{
	{"a name and two protocols", &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}, "www.example.com h2 http/1.1"},
	{"no name", &tls.Config{InsecureSkipVerify: true}, ""},
	{"an address, which is not sent", &tls.Config{ServerName: "127.0.0.1"}, ""},
	{"TLS 1.2 alone", &tls.Config{ServerName: "x", MaxVersion: tls.VersionTLS12}, "x"},
	{"TLS 1.0 alone", &tls.Config{ServerName: "x", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "x"},
	{"classic groups alone", &tls.Config{ServerName: "x.Y", CurvePreferences: []tls.CurveID{tls.X25519}}, "x.y"},
}

func TestHelloOfCryptoTLS(t *testing.T) {
	for _, tt := range cryptoTLS {
		t.Run(tt.name, func(t *testing.T) {
			in := clientHello(t, tt.config)
			s, h := parse(t, in, 0)
			if s != TLS {
				t.Fatal(s)
			}
			if got, _, _ := strings.Cut(describe(h), " 7"); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if h.Size != len(in) {
				t.Errorf("%d bytes of %d", h.Size, len(in))
			}
			if want := tt.config.MaxVersion == 0; h.Supports(tls.VersionTLS13) != want {
				t.Errorf("TLS 1.3 is offered: %v", !want)
			}
			info := serverHears(in)
			if info == nil {
				t.Fatal("crypto/tls refuses its own hello")
			}
			for _, v := range info.SupportedVersions {
				if !h.Supports(v) {
					t.Errorf("version %x is offered", v)
				}
			}
		})
	}
}

func TestHelloOfOpenSSL(t *testing.T) {
	openssl := tool(t, "openssl")
	tests := []struct {
		name string
		args []string
		want string
		ja4  string // up to the counts, which differ between versions
		v13  bool
	}{
		{"TLS 1.3", []string{"-tls1_3", "-servername", "Www.Example.com", "-alpn", "h2,http/1.1"}, "www.example.com h2 http/1.1", "t13d", true},
		{"TLS 1.2", []string{"-tls1_2", "-servername", "x", "-alpn", "imap"}, "x imap", "t12d", false},
		{"no name", []string{"-noservername"}, "", "t13i", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, s, h := hearOpenSSL(t, openssl, tt.args)
			if s != TLS {
				t.Fatalf("%v of %q", s, in)
			}
			if got, _, _ := strings.Cut(describe(h), " 771,"); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if ja4 := string(h.JA4(nil)); !strings.HasPrefix(ja4, tt.ja4) || len(ja4) != 36 {
				t.Errorf("JA4 %s, want %s...", ja4, tt.ja4)
			}
			if h.Supports(tls.VersionTLS13) != tt.v13 {
				t.Errorf("TLS 1.3 is offered: %v", !tt.v13)
			}
			if s2, slow := parse(t, string(in), 0); s2 != s || describe(slow) != describe(h) {
				t.Errorf("byte by byte %v %s", s2, describe(slow))
			}
		})
	}
}

// hearOpenSSL runs a client against a listener that reads its hello and closes.
func hearOpenSSL(t *testing.T, openssl string, args []string) (in []byte, s Status, h *ClientHello) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(openssl, append([]string{"s_client", "-connect", ln.Addr().String()}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it ends without a handshake, which it calls a failure
	}()
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	h = &ClientHello{}
	for buf := make([]byte, 4096); s == NeedMore; {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, in)
		}
		in = append(in, buf[:n]...)
		s = ParseClientHello(in, 0, h)
	}
	return in, s, h
}

// TestChangedHellos sets every byte of a hello to a few values: what crypto/tls still reads is the same.
func TestChangedHellos(t *testing.T) {
	in := clientHello(t, &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}, CurvePreferences: []tls.CurveID{tls.X25519}})
	read := 0
	for i := range in {
		for _, c := range []byte{0, 1, 'A', '.', 0xff, in[i] - 1, in[i] + 1, in[i] ^ 0x80} {
			changed := in[:i] + string([]byte{c}) + in[i+1:]
			var h ClientHello
			s := ParseClientHello(exact(changed), 1<<24, &h)
			if s == TLS {
				read++
			}
			agrees(t, changed, s, &h)
		}
	}
	if read == 0 {
		t.Error("every changed hello is refused")
	}
}
