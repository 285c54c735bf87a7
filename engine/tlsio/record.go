package tlsio

const (
	recordHeader = 5
	maxPlaintext = 16 << 10

	// maxCiphertext is what crypto/tls takes at most in a record (TLS 1.2, RFC 5246
	// 6.2.3); it reports longer ones when it sees their header.
	maxCiphertext = maxPlaintext + 2048

	// minOverhead is what encryption adds to a record at least: an AEAD's tag.
	minOverhead = recordHeader + 16

	typeAlert, typeHandshake = 21, 22

	// helloBytes is where waiting for the whole hello ends. Larger ones are left to
	// crypto/tls, which takes up to 64 KiB, piece by piece.
	helloBytes = 16 << 10
)

// recordLen returns the length of the record at the front of b, header included, or
// 0 when there is not all of it.
//
//	b: | type | version (2) | length (2) | fragment (length) | ...
//
// Of one that is too long, or of no version of TLS, the header counts as all, for
// crypto/tls to refuse.
func recordLen(b []byte) int {
	if len(b) < recordHeader {
		return 0
	}
	n := int(b[3])<<8 | int(b[4])
	if n > maxCiphertext || b[1] != 3 {
		return recordHeader
	}
	if n += recordHeader; n <= len(b) {
		return n
	}
	return 0
}

// plausible reports whether b, which is not empty, may begin a TLS client's stream:
// a record of a handshake (or an alert, to say no) of any version from SSL 3.0 on.
func plausible(b []byte) bool {
	return (b[0] == typeHandshake || b[0] == typeAlert) && (len(b) < 2 || b[1] == 3)
}

// helloComplete reports whether b holds the client's first handshake message, in one
// record or many (RFC 8446 5.1), or something crypto/tls can refuse.
func helloComplete(b []byte) bool {
	if len(b) >= helloBytes {
		return recordLen(b) > 0
	}
	var head [4]byte // type, length (3)
	got, want := 0, len(head)
	for {
		n := recordLen(b)
		if n == 0 {
			return false
		}
		if n <= recordHeader || b[0] != typeHandshake {
			return true
		}
		piece := b[recordHeader:n]
		if got < len(head) {
			copy(head[got:], piece)
		}
		if got += len(piece); got >= len(head) {
			want = len(head) + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
		}
		if got >= want {
			return true
		}
		b = b[n:]
	}
}
