package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
)

// Types of TLVs.
const (
	TypeALPN      = 0x01
	TypeAuthority = 0x02
	TypeCRC32C    = 0x03
	TypeNoop      = 0x04
	TypeUniqueID  = 0x05
	TypeSSL       = 0x20
	TypeNetNS     = 0x30
)

const (
	tlvHeaderBytes = 3
	maxTLVBytes    = 1<<16 - 1
	checksumBytes  = 4
)

// TLVs is what a header of version 2 says besides addresses, as sent: type(1) length(2) value, again
// and again. In a Header it is a view of the bytes parsed, and well-formed.
type TLVs []byte

// Next removes the first TLV and returns it; false at the end, and at one that is cut short. No
// allocation:
//
//	it := h.TLVs
//	for t, v, ok := it.Next(); ok; t, v, ok = it.Next() {
func (t *TLVs) Next() (kind uint8, value []byte, ok bool) {
	b := *t
	if len(b) < tlvHeaderBytes {
		return 0, nil, false
	}
	end := tlvHeaderBytes + int(binary.BigEndian.Uint16(b[1:]))
	if end > len(b) {
		return 0, nil, false
	}
	*t = b[end:]
	return b[0], b[tlvHeaderBytes:end:end], true
}

// check says whether the TLVs at the end of header are whole, and the checksum, if one is there, is
// the header's. Two checksums are refused: each would have to be zero in the other's sum.
func (t TLVs) check(header []byte) bool {
	var sum []byte
	at := 0 // of sum in header
	for len(t) > 0 {
		kind, value, ok := t.Next()
		if !ok {
			return false
		}
		if kind == TypeCRC32C {
			if sum != nil || len(value) != checksumBytes {
				return false
			}
			sum, at = value, len(header)-len(t)-checksumBytes
		}
	}
	return sum == nil || binary.BigEndian.Uint32(sum) == checksum(header, at)
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noChecksum [checksumBytes]byte
)

// checksum returns the CRC32c of header with zeros in place of the checksum at header[at:]
// (the specification, 2.2.3).
func checksum(header []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, noChecksum[:])
	return crc32.Update(sum, castagnoli, header[at+checksumBytes:])
}

// setChecksum fills in the checksum among the TLVs that begin at header[at:], if one is there.
func setChecksum(header []byte, at int) {
	t := TLVs(header[at:])
	for kind, value, ok := t.Next(); ok; kind, value, ok = t.Next() {
		if kind == TypeCRC32C && len(value) == checksumBytes {
			binary.BigEndian.PutUint32(value, checksum(header, len(header)-len(t)-checksumBytes))
			return
		}
	}
}

// AppendTLV appends one TLV. A value of more than 65535 bytes cannot be written, and nothing is. For a
// checksum, append any four bytes: AppendV2 computes it.
func AppendTLV(dst []byte, kind uint8, value []byte) []byte {
	if len(value) > maxTLVBytes {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(append(dst, kind), uint16(len(value)))
	return append(dst, value...)
}
