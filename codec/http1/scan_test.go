package http1

import (
	"strings"
	"testing"
)

// TestScansAgreeWithAByteLoop puts every byte at every place of a word and of the tail after it.
func TestScansAgreeWithAByteLoop(t *testing.T) {
	scans := []struct {
		name string
		scan func(b []byte, i int) int
		stop func(c byte) bool
	}{
		{"valueEnd", valueEnd, func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }},
		{"targetEnd", targetEnd, func(c byte) bool { return c <= ' ' || c >= 0x7f }},
		{"colon", colon, func(c byte) bool { return c == ':' }},
	}
	for _, s := range scans {
		for _, neighbour := range []byte{'a', '!', '~', '@'} {
			for c := range 256 {
				for place := range 20 {
					b := make([]byte, 20)
					for i := range b {
						b[i] = neighbour
					}
					b[place] = byte(c)
					for from := range 3 {
						want := from
						for want < len(b) && !s.stop(b[want]) {
							want++
						}
						if got := s.scan(b, from); got != want {
							t.Fatalf("%s(%q, %d) = %d, want %d", s.name, b, from, got, want)
						}
					}
				}
			}
		}
	}
}

// TestScansAreExactAfterAHit puts a stopping byte before bytes one above it, where a borrow could lie.
func TestScansAreExactAfterAHit(t *testing.T) {
	for _, b := range []string{"a\t a\x1f\x20\x7f\x80", "\t\t\t\t\t\t\t\ta\x00", "\x7f\x80aaaaaa", "\t\x00 aaaaa"} {
		want := 0
		for want < len(b) && class[b[want]]&valueByte != 0 {
			want++
		}
		if got := valueEnd([]byte(b), 0); got != want {
			t.Errorf("valueEnd(%q) = %d, want %d", b, got, want)
		}
	}
}

func TestByteClasses(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		token := b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
		if got := class[b]&tokenByte != 0; got != token {
			t.Errorf("token %q: %v", b, got)
		}
		if got := class[b]&valueByte != 0; got != (b == '\t' || b >= ' ' && b != 0x7f) {
			t.Errorf("value %q: %v", b, got)
		}
		hex := b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f'
		if got := hexDigit[b] <= 15; got != hex {
			t.Errorf("hex %q: %v", b, got)
		}
	}
}
