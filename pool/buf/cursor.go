package buf

// Cursor walks over the bytes of a Chain without consuming them. It is good until the chain's next Append,
// Consume or Release.
type Cursor struct{ next *Slab }

// Front returns a cursor before the first byte.
func (c *Chain) Front() Cursor { return Cursor{c.head} }

// Next returns the next piece; nil at the end.
func (k *Cursor) Next() []byte {
	for k.next != nil {
		b := k.next.Bytes()
		k.next = k.next.next
		if len(b) > 0 {
			return b
		}
	}
	return nil
}

// More says whether there is another piece.
func (k *Cursor) More() bool { return k.next != nil }
