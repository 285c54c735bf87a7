// Package hpack reads and writes HTTP/2 field blocks (RFC 7541).
//
// Both directions work field by field on the caller's bytes: the [Decoder] appends the strings of a
// field to one text buffer and describes it by spans, the [Encoder] appends to the output. Nothing is
// allocated per field; the tables grow to what a connection uses and are bounded by the sizes agreed.
//
//	block --Decoder.Next--> Field{spans into Text} --> header.Head
//	header.Head --Encoder.Field--> block
//
// What is worth knowing about a name or a value is worked out when it is first read and kept with its
// table entry, so that a field that comes as an index is not looked at again.
//
// The package must not know of frames, streams or which fields a message may have. Open decode.go
// first, then table.go.
package hpack

// Err is why a block is refused; zero is none. All of them are COMPRESSION_ERROR (RFC 9113 4.3): the
// tables of both ends differ from then on, so the connection cannot go on.
type Err uint8

// The reasons.
const (
	// OK: nothing is wrong.
	OK Err = iota
	// ErrTruncated: the block ends inside a field.
	ErrTruncated
	// ErrInteger: an integer over 2^32-1, or one written in more bytes than that takes.
	ErrInteger
	// ErrIndex: index zero, or one beyond both tables.
	ErrIndex
	// ErrHuffman: EOS inside a string, or padding that is too long or not all ones.
	ErrHuffman
	// ErrTableSize: a size update over the limit, missing where the limit shrank, or not at the front.
	ErrTableSize
)

// String returns one sentence for people.
func (e Err) String() string {
	switch e {
	case OK:
		return "no error"
	case ErrTruncated:
		return "the field block ends inside a field"
	case ErrInteger:
		return "an integer in the field block is too large"
	case ErrIndex:
		return "an index in the field block is in neither table"
	case ErrHuffman:
		return "a string in the field block is not valid Huffman code"
	case ErrTableSize:
		return "a dynamic table size update is missing, too large or misplaced"
	}
	return "unknown"
}
