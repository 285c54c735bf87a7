package hpack

// maxIntegerBytes is how many bytes may follow the prefix: 5 bytes of 7 bits hold every 32-bit value.
const maxIntegerBytes = 5

// readInt reads an integer with an n-bit prefix from b[i] (RFC 7541 5.1). Returns the place after it.
func readInt(b []byte, i int, n uint) (v uint32, end int, e Err) {
	if i >= len(b) {
		return 0, 0, ErrTruncated
	}
	mask := uint32(1)<<n - 1
	v = uint32(b[i]) & mask
	i++
	if v < mask {
		return v, i, OK
	}
	sum := uint64(v)
	for k := range maxIntegerBytes {
		if i >= len(b) {
			return 0, 0, ErrTruncated
		}
		c := b[i]
		i++
		sum += uint64(c&0x7f) << (7 * k)
		if c < 0x80 {
			if sum > 1<<32-1 {
				return 0, 0, ErrInteger
			}
			return uint32(sum), i, OK
		}
	}
	return 0, 0, ErrInteger
}

// appendInt appends v with an n-bit prefix; first holds the bits above the prefix.
func appendInt(dst []byte, first byte, n uint, v uint32) []byte {
	mask := uint32(1)<<n - 1
	if v < mask {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(mask))
	for v -= mask; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
