package http1

import "testing"

func TestValidAuthority(t *testing.T) {
	valid := []string{
		"x", "example.com", "EXAMPLE.com.", "a-b_c~d", "x:80", "x:", "x:65535", "127.0.0.1:8080", "[::1]", "[::1]:80", "[::]",
		"[fe80::1%25eth0]:80", "[::ffff:1.2.3.4]", "u@x", "u:p@x:80", "a!$&'()*+,;=b", "a%20b", "u%40@x",
	}
	invalid := []string{
		"", ":", ":80", "a b", "a\tb", "a/b", "a?b", "a#b", "a<b", "a>b", "a\\b", "a^b", "a{b", "a}b", "a`b", "a|b", "a\"b", "a\x00", "a\x7f",
		"a\x80", "x:80:80", "x:8a", "x:65536", "x:99999999999999999999", "[::1", "::1]", "::1", "[]", "[x]", "[::1]x", "[::1]80", "[[::1]]",
		"a[::1]", "x]", "a%", "a%2", "a%zz", "[::1%zz]", "[::1%25a:b]", "@", "u@", "u@v@x", "u[@x", "u%@x", "u@:80",
	}
	for _, s := range valid {
		if !ValidAuthority(exact(s)) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range invalid {
		if ValidAuthority(exact(s)) {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestHostEdits(t *testing.T) {
	tests := []struct{ in, anyPort, port80, noDot string }{
		{"x", "x", "x", ""},
		{"x:80", "x", "x", ""},
		{"x:081", "x", "x:081", ""},
		{"x:080", "x", "x", ""},
		{"x:", "x", "x:", ""},
		{"x.", "x.", "x.", "x"},
		{"x.:80", "x.", "x.", "x:80"},
		{"x..:81", "x..", "x..:81", "x.:81"},
		{".", ".", ".", ""},
		{"[::1]", "[::1]", "[::1]", ""},
		{"[::1]:80", "[::1]", "[::1]", ""},
		{"[::1]:8a", "[::1]", "[::1]:8a", ""},
		{"::1:80", "::1:80", "::1:80", ""},
		{"x:65616", "x", "x:65616", ""},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		if got := string(StripPort(exact(tt.in))); got != tt.anyPort {
			t.Errorf("HC-94 strip_any_host_port: %q becomes %q", tt.in, got)
		}
		if got := string(StripMatchingPort(exact(tt.in), 80)); got != tt.port80 {
			t.Errorf("HC-94 strip_matching_host_port: %q becomes %q", tt.in, got)
		}
		got, changed := AppendWithoutHostDot([]byte{}, exact(tt.in))
		if string(got) != tt.noDot || changed != (tt.noDot != "") {
			t.Errorf("HC-94 strip_trailing_host_dot: %q becomes %q, %v", tt.in, got, changed)
		}
	}
}
