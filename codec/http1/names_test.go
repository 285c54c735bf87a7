package http1

import "testing"

// Every byte in every place of a word, among bytes of each kind.
func TestAppendLowerFoldsLettersOnly(t *testing.T) {
	for c := range 256 {
		for length := range 20 {
			for at := range length {
				for _, other := range []byte{'A', 'z', 0, 0xff, 'Z' + 0x80} {
					name := make([]byte, length)
					for i := range name {
						name[i] = other
					}
					name[at] = byte(c)
					got := appendLower([]byte("X"), name)
					if got[0] != 'X' || len(got) != length+1 {
						t.Fatalf("%q became %q", name, got)
					}
					for i, b := range name {
						if got[i+1] != lowerByte[b] {
							t.Fatalf("%q became %q", name, got)
						}
					}
				}
			}
		}
	}
}
