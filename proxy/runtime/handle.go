package runtime

import (
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"weak"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Uint is a number that may change at any time. Safe for concurrent use; a Load is one atomic load.
type Uint struct {
	key string
	def uint64
	v   atomic.Uint64
}

// Load returns the value in force, or the default where the key has none that is a number of 0 or more.
func (h *Uint) Load() uint64 { return h.v.Load() }

func (h *Uint) update(s *Snapshot) {
	v, ok := parseUint(s.Values[h.key])
	if !ok {
		v = h.def
	}
	h.v.Store(v)
}

// Float is a number with a fraction that may change at any time.
type Float struct {
	key string
	def float64
	v   atomic.Uint64
}

// Load returns the value in force. One atomic load.
func (h *Float) Load() float64 { return math.Float64frombits(h.v.Load()) }

func (h *Float) update(s *Snapshot) {
	v, ok := parseFloat(s.Values[h.key])
	if !ok {
		v = h.def
	}
	h.v.Store(math.Float64bits(v))
}

// Bool is a switch that may change at any time.
type Bool struct {
	key string
	def bool
	v   atomic.Bool
}

// Load returns the value in force. One atomic load.
func (h *Bool) Load() bool { return h.v.Load() }

func (h *Bool) update(s *Snapshot) {
	v, ok := parseBool(s.Values[h.key])
	if !ok {
		v = h.def
	}
	h.v.Store(v)
}

// Fraction is a share that may change at any time.
type Fraction struct {
	key string
	def conf.Fraction
	v   atomic.Uint64 // numerator << 32 | denominator, which is not 0
}

// Enabled says whether random is within the share: random % denominator < numerator (OP-34, AMB-18).
// One atomic load.
func (h *Fraction) Enabled(random uint64) bool {
	v := h.v.Load()
	return random%(v&math.MaxUint32) < v>>32
}

// Percent returns the share in force.
func (h *Fraction) Percent() conf.Fraction {
	v := h.v.Load()
	return conf.Fraction{Numerator: uint32(v >> 32), Denominator: uint32(v)}
}

func (h *Fraction) update(s *Snapshot) {
	f, ok := ParseFraction(s.Values[h.key])
	if !ok {
		f = h.def
	}
	h.v.Store(uint64(f.Numerator)<<32 | uint64(f.Denominator))
}

// Uint returns a handle of key. Without a value, and of a nil Loader, it holds def.
func (l *Loader) Uint(key string, def uint64) *Uint {
	return attach(l, key, &Uint{key: key, def: def})
}

// Float is Uint for numbers with a fraction.
func (l *Loader) Float(key string, def float64) *Float {
	return attach(l, key, &Float{key: key, def: def})
}

// Bool is Uint for the words true and false.
func (l *Loader) Bool(key string, def bool) *Bool {
	return attach(l, key, &Bool{key: key, def: def})
}

// Fraction is Uint for shares: a FractionalPercent, or a number, which is a percentage. A denominator of 0
// reads as 100.
func (l *Loader) Fraction(key string, def conf.Fraction) *Fraction {
	if def.Denominator == 0 {
		def.Denominator = 100
	}
	return attach(l, key, &Fraction{key: key, def: def})
}

// handle is what all handles are to the Loader.
type handle[T any] interface {
	*T
	update(s *Snapshot)
}

// ref refers to a handle weakly.
type ref interface {
	// update brings the handle up to date; false when nothing refers to it any more.
	update(s *Snapshot) bool
}

type weakRef[T any, P handle[T]] struct{ p weak.Pointer[T] }

func (r weakRef[T, P]) update(s *Snapshot) bool {
	h := r.p.Value()
	if h == nil {
		return false
	}
	P(h).update(s)
	return true
}

var noValues = new(Snapshot)

// attach gives a handle its value, and the changes to come.
func attach[T any, P handle[T]](l *Loader, key string, h P) P {
	if l == nil || key == "" {
		h.update(noValues)
		return h
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h.update(l.snapshot.Load())
	if len(l.handles) >= l.prune {
		l.refresh()
	}
	l.handles = append(l.handles, weakRef[T, P]{weak.Make((*T)(h))})
	return h
}

// refresh brings every handle up to date and forgets those that are gone. Needs mu.
func (l *Loader) refresh() {
	s, kept := l.snapshot.Load(), l.handles[:0]
	for _, r := range l.handles {
		if r.update(s) {
			kept = append(kept, r)
		}
	}
	clear(l.handles[len(kept):])
	l.handles = kept
	l.prune = max(minPrune, 2*len(kept))
}

// minPrune is how many handles there may be before it is looked whether all of them are used.
const minPrune = 256

// Prefixes is a list of address ranges that may change at any time.
type Prefixes struct {
	key string
	v   atomic.Pointer[[]netip.Prefix]
}

// Empty says whether the list has no range: most often the key has no value. One atomic load.
func (h *Prefixes) Empty() bool { return h == nil || h.v.Load() == nil }

// Contain says whether an address is in one of the ranges.
func (h *Prefixes) Contain(a netip.Addr) bool {
	list := h.v.Load()
	if list == nil || !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range *list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// update reads ranges and addresses with commas or spaces between them; what is none of both is left out,
// since nobody may be let in by a misspelt range.
func (h *Prefixes) update(s *Snapshot) {
	var list []netip.Prefix
	for _, text := range strings.FieldsFunc(s.Values[h.key], func(c rune) bool { return c == ',' || c == ' ' }) {
		if p, err := netip.ParsePrefix(text); err == nil {
			list = append(list, p.Masked())
		} else if a, err := netip.ParseAddr(text); err == nil {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	if list == nil {
		h.v.Store(nil)
		return
	}
	h.v.Store(&list)
}

// Prefixes is Uint for lists of address ranges: "10.0.0.0/8, ::1". There is no default but an empty list.
func (l *Loader) Prefixes(key string) *Prefixes {
	return attach(l, key, &Prefixes{key: key})
}
