package match

import (
	"fmt"

	"github.com/sluiceproxy/sluice/codec/header"
)

// Name is a field name in lower case with its identity, looked up once.
type Name struct {
	Lower string
	ID    header.Known
}

// NewName returns the Name of a lower-case token.
func NewName(lower string) Name { return Name{Lower: lower, ID: header.Lookup([]byte(lower))} }

// NewNames is NewName for a list.
func NewNames(lower []string) []Name {
	if len(lower) == 0 {
		return nil
	}
	out := make([]Name, len(lower))
	for i, s := range lower {
		out[i] = NewName(s)
	}
	return out
}

// First returns the value of the first field of that name and whether there is one.
func (n *Name) First(h *header.Head) ([]byte, bool) {
	if i := h.Find(n.ID, n.Lower); i >= 0 {
		return h.Bytes(h.Fields[i].Value), true
	}
	return nil, false
}

// Set makes value the only value of the name.
func (n *Name) Set(h *header.Head, value []byte) {
	i := h.Find(n.ID, n.Lower)
	if i < 0 {
		h.Add(n.ID, n.Lower, value)
		return
	}
	for j := h.Next(i); j >= 0; j = h.Next(i) {
		h.RemoveAt(j)
	}
	h.SetAt(i, value)
}

// CheckName says whether s is a lower-case field-name token (RFC 9110 5.1).
func CheckName(s string) error {
	if s == "" {
		return fmt.Errorf("must not be empty")
	}
	if s[0] == ':' {
		return fmt.Errorf("there is no header %s", s)
	}
	for i := 0; i < len(s); i++ {
		if !isLowerToken(s[i]) {
			return fmt.Errorf("header name %q: character %q is not allowed (names are lower-case tokens)", s, s[i])
		}
	}
	return nil
}

func isLowerToken(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}

// Joined returns the value of the only field of that name, or those of several with commas between them,
// which it puts together in *scratch.
func (n *Name) Joined(h *header.Head, scratch *[]byte) (v []byte, there bool) {
	i := h.Find(n.ID, n.Lower)
	if i < 0 {
		return nil, false
	}
	v = h.Bytes(h.Fields[i].Value)
	if j := h.Next(i); j >= 0 {
		return join(h, v, j, scratch), true
	}
	return v, true
}
