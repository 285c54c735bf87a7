package forwarded

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/sluiceproxy/sluice/codec/header"
)

// uuidLen is the length of a UUID's text; the version digit, which also says why a request is
// traced, stands at traceAt: '4' not traced, '9' sampled, 'a' forced by the server, 'b' by the client.
const (
	uuidLen  = 36
	traceAt  = 14
	noTrace  = '4'
	variants = 0x3f
)

// NewRandom returns a generator for one loop: ChaCha8 with a seed from the system, so that request
// ids cannot be guessed from earlier ones. Loop-owned.
func NewRandom() *rand.Rand {
	var seed [32]byte
	crand.Read(seed[:]) // never fails: it ends the process instead
	return rand.New(rand.NewChaCha8(seed))
}

// setRequestID gives the request an x-request-id (RT-104): a new one when it has none, or when it is
// an edge request whose client's is not to be kept. A client's own that is kept loses its trace mark.
func (p *Policy) setRequestID(h *header.Head, edge bool, r *rand.Rand) {
	i := h.Index(header.XRequestID)
	var b [uuidLen]byte
	switch {
	case i < 0 || edge && !p.conf.PreserveExternalRequestID:
		putUUID(&b, r)
	case edge && p.conf.PackTraceReason:
		v := h.Bytes(h.Fields[i].Value)
		if len(v) != uuidLen || !isTraceMark(v[traceAt]) {
			return
		}
		copy(b[:], v)
		b[traceAt] = noTrace
	default:
		return
	}
	h.Set(header.XRequestID, b[:])
}

func isTraceMark(c byte) bool { return c == '9' || c == 'a' || c == 'b' }

// putUUID writes a version 4 UUID (RFC 9562 5.4).
func putUUID(b *[uuidLen]byte, r *rand.Rand) {
	var u [16]byte
	binary.LittleEndian.PutUint64(u[:8], r.Uint64())
	binary.LittleEndian.PutUint64(u[8:], r.Uint64())
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&variants | 0x80
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
}
