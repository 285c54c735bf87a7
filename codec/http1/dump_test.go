package http1

import (
	"fmt"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
)

// exact returns s in a slice without spare capacity, so that any reading past the end panics.
func exact(s string) []byte {
	b := make([]byte, len(s))
	copy(b, s)
	return b[:len(s):len(s)]
}

func defaults(edit func(o *Options)) *Options {
	o := DefaultOptions()
	if edit != nil {
		edit(&o)
	}
	return &o
}

var transferNames = map[header.TransferKind]string{
	header.NoBody: "none", header.Length: "length", header.Chunked: "chunked",
	header.UntilClose: "close", header.Tunnel: "tunnel", header.Framed: "framed",
}

// fieldsOf lists the live fields as received.
func fieldsOf(h *header.Head) string {
	var b strings.Builder
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Dead {
			fmt.Fprintf(&b, "[%s=%s]", h.NameOf(f), h.Bytes(f.Value))
		}
	}
	return b.String()
}

func flagsOf(h *header.Head) string {
	s := fmt.Sprintf("%s %s(%d)", h.Version, transferNames[h.Transfer], h.ContentLength)
	for _, f := range []struct {
		on   bool
		name string
	}{
		{h.Close, "close"}, {h.AbsoluteForm, "absolute"},
		{h.Expect100, "expect"}, {h.HasUpgrade, "upgrade"},
	} {
		if f.on {
			s += " " + f.name
		}
	}
	return s
}

// describeRequest is everything ParseRequest says, in one line.
func describeRequest(h *header.Head) string {
	return fmt.Sprintf("%s(%d) scheme=%s authority=%s path=%s %s %s dropped=%d", h.Bytes(h.MethodText), h.Method,
		h.Bytes(h.Scheme), h.Bytes(h.Authority), h.Bytes(h.Path), flagsOf(h), fieldsOf(h), h.DroppedUnderscores)
}

func describeResponse(h *header.Head) string {
	return fmt.Sprintf("%d %q %s %s dropped=%d", h.Status, h.Bytes(h.Reason), flagsOf(h), fieldsOf(h), h.DroppedUnderscores)
}

// parseCut parses in with reads that end at the places cuts says (ascending), each attempt from a copy
// without spare capacity. It stops at the first answer.
func parseCut(in string, cuts []int, parse func(b []byte, seen int, h *header.Head) (int, Err)) (n int, e Err, h *header.Head) {
	seen := 0
	for _, end := range append(cuts, len(in)) {
		h = &header.Head{}
		if n, e = parse(exact(in[:end]), seen, h); n > 0 || e != OK {
			break
		}
		seen = end
	}
	return n, e, h
}

// everyByte is the cuts of the slowest client.
func everyByte(in string) []int {
	cuts := make([]int, len(in))
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}
