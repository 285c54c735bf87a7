package route

import (
	"fmt"
	"slices"
	"strings"
)

// hostIndex finds the virtual host of a name (RT-20 to RT-26): exact names by hash, then the longest
// suffix wildcard, then the longest prefix wildcard, then "*". All texts are lower case.
type hostIndex struct {
	exact    map[string]*VirtualHost
	lengths  [4]uint64 // bit n: there is an exact name of n bytes, or of more for the last one
	suffixes wildcards // "*x", kept without the star
	prefixes wildcards // "x*"
	any      *VirtualHost
	// onlyAny: "*" is the only domain, so that a request needs no host (RT-26).
	onlyAny bool
}

// wildcards are literal parts of wildcard domains with their lengths, longest first.
type wildcards struct {
	byText  map[string]*VirtualHost
	lengths []int
}

// add enters the domains of a virtual host. Errors start with the domain's place.
func (x *hostIndex) add(vh *VirtualHost) error {
	if len(vh.Config.Domains) == 0 {
		return fmt.Errorf("domains: at least one is needed")
	}
	for i, d := range vh.Config.Domains {
		if !x.addDomain(lowerASCII(d), vh) {
			return fmt.Errorf("domains[%d]: %q is used twice; a domain belongs to one virtual host only", i, d)
		}
	}
	return nil
}

func (x *hostIndex) addDomain(d string, vh *VirtualHost) bool {
	switch {
	case d == "*":
		if x.any != nil {
			return false
		}
		x.any = vh
		return true
	case strings.HasPrefix(d, "*"):
		return x.suffixes.add(d[1:], vh)
	case strings.HasSuffix(d, "*"):
		return x.prefixes.add(d[:len(d)-1], vh)
	}
	return insert(&x.exact, d, vh)
}

func (x *hostIndex) finish() {
	for name := range x.exact {
		n := min(len(name), maxHostBit)
		x.lengths[n/64] |= 1 << (n % 64)
	}
	x.suffixes.finish()
	x.prefixes.finish()
	x.onlyAny = len(x.exact)+len(x.suffixes.byText)+len(x.prefixes.byText) == 0
}

func (w *wildcards) add(literal string, vh *VirtualHost) bool { return insert(&w.byText, literal, vh) }

func (w *wildcards) finish() {
	for s := range w.byText {
		w.lengths = append(w.lengths, len(s))
	}
	slices.Sort(w.lengths)
	w.lengths = slices.Compact(w.lengths)
	slices.Reverse(w.lengths)
}

func insert(m *map[string]*VirtualHost, key string, vh *VirtualHost) bool {
	if *m == nil {
		*m = make(map[string]*VirtualHost)
	}
	if _, dup := (*m)[key]; dup {
		return false
	}
	(*m)[key] = vh
	return true
}

const maxHostBit = 4*64 - 1

// named returns the virtual host of an exact name. Most names that none has differ in length already.
func (x *hostIndex) named(host []byte) *VirtualHost {
	n := min(len(host), maxHostBit)
	if x.lengths[n/64]&(1<<(n%64)) == 0 {
		return nil
	}
	return x.exact[string(host)]
}

// find returns the virtual host of a name in any letter case, nil when there is none.
func (x *hostIndex) find(in *Input, host []byte) *VirtualHost {
	host = in.lower(host)
	if vh := x.named(host); vh != nil {
		return vh
	}
	// A star stands for at least one character (RT-22), hence n < len(host).
	for _, n := range x.suffixes.lengths {
		if n < len(host) {
			if vh := x.suffixes.byText[string(host[len(host)-n:])]; vh != nil {
				return vh
			}
		}
	}
	for _, n := range x.prefixes.lengths {
		if n < len(host) {
			if vh := x.prefixes.byText[string(host[:n])]; vh != nil {
				return vh
			}
		}
	}
	return x.any
}

// lower returns b in lower case: b itself when it is so already, else a copy in Scratch.
func (in *Input) lower(b []byte) []byte {
	i := 0
	for ; i < len(b); i++ {
		if b[i]-'A' <= 'Z'-'A' {
			break
		}
	}
	if i == len(b) {
		return b
	}
	out := append(in.Scratch[:0], b...)
	for ; i < len(out); i++ {
		out[i] = lowerByte(out[i])
	}
	in.Scratch = out
	return out
}

func lowerByte(c byte) byte {
	if c-'A' <= 'Z'-'A' {
		c |= 0x20
	}
	return c
}
