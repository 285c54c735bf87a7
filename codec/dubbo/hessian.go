package dubbo

// walker steps over Hessian2 values without making anything of them. It knows as much of classes as is
// needed to find the end of an object. The zero value is ready for a new body.
type walker struct {
	fields  [maxClasses]int // by class definition
	classes int
}

const (
	maxClasses = 256
	maxNesting = 64
)

// text returns a string that is not cut into chunks; next is behind it. Not ok: something else, or not
// all there.
func text(b []byte, at int) (v []byte, next int, ok bool) {
	if at >= len(b) {
		return nil, at, false
	}
	chars, at, final, ok := textHead(b, at)
	if !ok || !final {
		return nil, at, false
	}
	end, ok := textEnd(b, at, chars)
	if !ok {
		return nil, at, false
	}
	return b[at:end], end, true
}

// textHead reads the length, in UTF-16 units, of a string or of its next chunk.
func textHead(b []byte, at int) (chars, next int, final, ok bool) {
	switch c := b[at]; {
	case c <= 0x1f:
		return int(c), at + 1, true, true
	case 0x30 <= c && c <= 0x33 && at+1 < len(b):
		return int(c-0x30)<<8 | int(b[at+1]), at + 2, true, true
	case (c == 'S' || c == 'R') && at+2 < len(b):
		return int(b[at+1])<<8 | int(b[at+2]), at + 3, c == 'S', true
	}
	return 0, at, false, false
}

// textEnd finds the end of so many UTF-16 units of UTF-8.
func textEnd(b []byte, at, chars int) (end int, ok bool) {
	for ; chars > 0; chars-- {
		if at >= len(b) {
			return at, false
		}
		switch c := b[at]; {
		case c < 0x80:
			at++
		case c&0xe0 == 0xc0:
			at += 2
		case c&0xf0 == 0xe0:
			at += 3
		case c&0xf8 == 0xf0 && chars > 1: // two units
			at += 4
			chars--
		default:
			return at, false
		}
	}
	return at, at <= len(b)
}

// skip steps over one value.
func (w *walker) skip(b []byte, at, depth int) (next int, ok bool) {
	for at < len(b) && b[at] == 'C' { // definitions come before the object that needs them
		if at, ok = w.define(b, at+1, depth); !ok {
			return at, false
		}
	}
	if at >= len(b) || depth > maxNesting {
		return at, false
	}
	c := b[at]
	if n := sizes[c]; n > 0 {
		return at + n, at+n <= len(b)
	}
	switch {
	case c <= 0x1f || 0x30 <= c && c <= 0x33 || c == 'S' || c == 'R':
		return skipText(b, at)
	case 0x20 <= c && c <= 0x2f || 0x34 <= c && c <= 0x37 || c == 'A' || c == 'B':
		return skipBytes(b, at)
	case c == 'Q':
		_, next, ok := number(b, at+1)
		return next, ok
	case c == 'H':
		return w.until(b, at+1, depth)
	case c == 'M' || c == 'U':
		if at, ok = w.skip(b, at+1, depth+1); !ok {
			return at, false
		}
		return w.until(b, at, depth)
	case c == 'W':
		return w.until(b, at+1, depth)
	case c == 'O':
		class, next, ok := number(b, at+1)
		return w.object(b, next, class, depth, ok)
	case 0x60 <= c && c <= 0x6f:
		return w.object(b, at+1, int(c-0x60), depth, true)
	}
	return w.list(b, at, depth)
}

// list steps over a list of known length.
func (w *walker) list(b []byte, at, depth int) (next int, ok bool) {
	c := b[at]
	at++
	n := int(c & 7)
	typed := c == 'V' || 0x70 <= c && c <= 0x77
	if !typed && c != 'X' && (c < 0x78 || c > 0x7f) {
		return at, false
	}
	if typed {
		if at, ok = w.skip(b, at, depth+1); !ok {
			return at, false
		}
	}
	if c == 'V' || c == 'X' {
		if n, at, ok = number(b, at); !ok {
			return at, false
		}
	}
	return w.values(b, at, n, depth)
}

func (w *walker) values(b []byte, at, n, depth int) (next int, ok bool) {
	if n < 0 || n > len(b) {
		return at, false
	}
	for ; n > 0; n-- {
		if at, ok = w.skip(b, at, depth+1); !ok {
			return at, false
		}
	}
	return at, true
}

// until steps over values up to the 'Z' that ends them.
func (w *walker) until(b []byte, at, depth int) (next int, ok bool) {
	for at < len(b) {
		if b[at] == 'Z' {
			return at + 1, true
		}
		if at, ok = w.skip(b, at, depth+1); !ok {
			return at, false
		}
	}
	return at, false
}

// define notes how many fields a class has.
func (w *walker) define(b []byte, at, depth int) (next int, ok bool) {
	if at, ok = w.skip(b, at, depth+1); !ok {
		return at, false
	}
	n, at, ok := number(b, at)
	if !ok || n < 0 || n > len(b) || w.classes == maxClasses {
		return at, false
	}
	w.fields[w.classes] = n
	w.classes++
	return w.values(b, at, n, depth)
}

func (w *walker) object(b []byte, at, class, depth int, ok bool) (next int, done bool) {
	if !ok || class < 0 || class >= w.classes {
		return at, false
	}
	return w.values(b, at, w.fields[class], depth)
}

func skipText(b []byte, at int) (next int, ok bool) {
	for at < len(b) {
		chars, from, final, ok := textHead(b, at)
		if !ok {
			return at, false
		}
		if at, ok = textEnd(b, from, chars); !ok || final {
			return at, ok
		}
	}
	return at, false
}

func skipBytes(b []byte, at int) (next int, ok bool) {
	for at < len(b) {
		c, n, final := b[at], 0, true
		switch {
		case 0x20 <= c && c <= 0x2f:
			n, at = int(c-0x20), at+1
		case 0x34 <= c && c <= 0x37 && at+1 < len(b):
			n, at = int(c-0x34)<<8|int(b[at+1]), at+2
		case (c == 'A' || c == 'B') && at+2 < len(b):
			n, final, at = int(b[at+1])<<8|int(b[at+2]), c == 'B', at+3
		default:
			return at, false
		}
		if at += n; at > len(b) || final {
			return at, at <= len(b)
		}
	}
	return at, false
}

// number reads an int.
func number(b []byte, at int) (v, next int, ok bool) {
	if at >= len(b) {
		return 0, at, false
	}
	c := b[at]
	n := sizes[c]
	if at+n > len(b) {
		return 0, at, false
	}
	switch {
	case 0x80 <= c && c <= 0xbf:
		v = int(c) - 0x90
	case 0xc0 <= c && c <= 0xcf:
		v = (int(c)-0xc8)<<8 | int(b[at+1])
	case 0xd0 <= c && c <= 0xd7:
		v = (int(c)-0xd4)<<16 | int(b[at+1])<<8 | int(b[at+2])
	case c == 'I':
		v = int(int32(uint32(b[at+1])<<24 | uint32(b[at+2])<<16 | uint32(b[at+3])<<8 | uint32(b[at+4])))
	default:
		return 0, at, false
	}
	return v, at + n, true
}

// sizes are the bytes of values that their first byte says all about; 0: it does not.
var sizes = func() (out [256]int) {
	fill := func(from, to, n int) {
		for c := from; c <= to; c++ {
			out[c] = n
		}
	}
	fill('N', 'N', 1)
	fill('T', 'T', 1)
	fill('F', 'F', 1)
	fill(0x80, 0xbf, 1) // int
	fill(0xc0, 0xcf, 2)
	fill(0xd0, 0xd7, 3)
	fill('I', 'I', 5)
	fill(0xd8, 0xef, 1) // long
	fill(0xf0, 0xff, 2)
	fill(0x38, 0x3f, 3)
	fill('Y', 'Y', 5)
	fill('L', 'L', 9)
	fill(0x5b, 0x5c, 1) // double
	fill(0x5d, 0x5d, 2)
	fill(0x5e, 0x5e, 3)
	fill(0x5f, 0x5f, 5)
	fill('D', 'D', 9)
	fill(0x4a, 0x4a, 9) // date
	fill(0x4b, 0x4b, 5)
	return out
}()

// appendText appends a string of ASCII.
func appendText(dst []byte, s string) []byte {
	switch n := len(s); {
	case n <= 31:
		dst = append(dst, byte(n))
	case n <= 1023:
		dst = append(dst, 0x30+byte(n>>8), byte(n))
	default:
		s = s[:min(n, 1<<16-1)]
		dst = append(dst, 'S', byte(len(s)>>8), byte(len(s)))
	}
	return append(dst, s...)
}

// arguments counts the parameters of a JVM descriptor; negative when it is none.
func arguments(types []byte) int {
	n := 0
	for i := 0; i < len(types); n++ {
		for i < len(types) && types[i] == '[' {
			i++
		}
		if i == len(types) {
			return -1
		}
		if types[i] == 'L' {
			for i < len(types) && types[i] != ';' {
				i++
			}
			if i == len(types) {
				return -1
			}
		}
		i++
	}
	return n
}
