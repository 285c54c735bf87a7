package tlsio

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// split puts a handshake message of the type into records of n bytes.
func split(message []byte, n int) (b []byte) {
	for len(message) > 0 {
		k := min(n, len(message))
		b = append(b, typeHandshake, 3, 1)
		b = binary.BigEndian.AppendUint16(b, uint16(k))
		b = append(b, message[:k]...)
		message = message[k:]
	}
	return b
}

// message is a handshake message of n bytes and its header.
func message(n int) []byte {
	return append([]byte{1, byte(n >> 16), byte(n >> 8), byte(n)}, bytes.Repeat([]byte{7}, n)...)
}

func TestAHelloIsCompleteWithItsLastByte(t *testing.T) {
	for _, size := range []int{0, 1, 100, 517, 2000} {
		for _, piece := range []int{1, 2, 3, 4, 5, 100, 4000} {
			b := split(message(size), piece)
			for i := range b {
				if helloComplete(b[:i]) {
					t.Fatalf("a hello of %d bytes in records of %d is complete at byte %d of %d", size, piece, i, len(b))
				}
			}
			if !helloComplete(b) || !helloComplete(append(b, 22, 3)) {
				t.Fatalf("a hello of %d bytes in records of %d is never complete", size, piece)
			}
		}
	}
}

func TestTooMuchIsLeftToTheHandshake(t *testing.T) {
	b := split(message(60_000), 1000)
	for i := range b {
		if want := i >= helloBytes; helloComplete(b[:i]) != want {
			t.Fatalf("at byte %d: %v", i, !want)
		}
	}
	if b = split(message(20_000), 16_384)[:16_384]; helloComplete(b) {
		t.Error("a handshake that can take no record was woken")
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(nil), []byte(nil))
	f.Add(split(message(100), 40), []byte("more"))
	f.Add([]byte{22, 3, 1, 0, 0}, []byte{22, 3, 1, 0, 0})
	f.Add([]byte{23, 3, 3, 0xff, 0xff}, []byte{1})
	f.Add([]byte{22, 9, 9, 0, 9}, []byte{1})
	f.Fuzz(func(t *testing.T, b, more []byte) {
		n := recordLen(b)
		if n < 0 || n > len(b) || n > 0 && n < recordHeader || n > recordHeader+maxCiphertext {
			t.Fatalf("a record of %d bytes in %d", n, len(b))
		}
		if n > 0 && recordLen(b[:n]) != n {
			t.Errorf("record of %d bytes alone: %d", n, recordLen(b[:n]))
		}
		whole := append(bytes.Clone(b), more...)
		if n > 0 && recordLen(whole) != n {
			t.Errorf("length %d becomes %d with more bytes", n, recordLen(whole))
		}
		if helloComplete(b) {
			if n == 0 {
				t.Error("complete without one whole record")
			}
			if !helloComplete(whole) {
				t.Error("complete, but not with more bytes")
			}
		}
		if len(b) > 0 && len(whole) > 0 && plausible(whole) && !plausible(b) {
			t.Error("implausible until more bytes come")
		}
	})
}
