package http1

import "github.com/sluiceproxy/sluice/codec/header"

// AppendChunk appends the size line of a chunk of n > 0 bytes; the data and AppendChunkEnd follow.
// A chunk of no bytes would end the body, so n <= 0 appends nothing.
func AppendChunk(dst []byte, n int) []byte {
	if n <= 0 {
		return dst
	}
	const hex = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, hex[n>>shift&15])
	}
	return append(dst, '\r', '\n')
}

// AppendChunkEnd appends what follows the data of a chunk.
func AppendChunkEnd(dst []byte) []byte { return append(dst, '\r', '\n') }

// AppendLastChunk appends the chunk that ends a body, with the trailers in lower case; nil is none.
func AppendLastChunk(dst []byte, trailers *header.Head) []byte {
	return AppendLastChunkCase(dst, trailers, LowerCase)
}

// AppendLastChunkCase is AppendLastChunk with trailer names in case c. Fields that must not be
// trailers are left out.
func AppendLastChunkCase(dst []byte, trailers *header.Head, c HeaderCase) []byte {
	dst = append(dst, '0', '\r', '\n')
	if trailers != nil {
		for i := range trailers.Fields {
			f := &trailers.Fields[i]
			if f.Dead || neverTrailer[f.ID] {
				continue
			}
			dst = appendName(dst, f.ID, trailers.Bytes(f.Name), c)
			dst = append(dst, trailers.Bytes(f.Value)...)
			dst = append(dst, '\r', '\n')
		}
	}
	return append(dst, '\r', '\n')
}
