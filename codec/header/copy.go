package header

// CopyFrom makes h a copy of from that shares nothing with it. Allocates only where from is larger than
// any head this object has held.
func (h *Head) CopyFrom(from *Head) {
	fields, own, extra := h.Fields[:0], h.own[:0], h.extra[:0]
	*h = *from
	h.Fields = append(fields, from.Fields...)
	h.own = append(own, from.base...)
	h.extra = append(extra, from.extra...)
	h.base, h.owned = h.own, true
}
