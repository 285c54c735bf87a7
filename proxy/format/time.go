package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// timePart is a literal or one conversion of strftime(3).
type timePart struct {
	text   string // literal, when verb is 0
	verb   byte
	digits int // of a fraction; 0: as many as needed
}

// Verbs that strftime has no letter for.
const (
	verbFraction        = 1 // %f, %3f: decimals of the second, no point
	verbSecondsFraction = 2 // %E3S, %E*S: seconds with decimals
	verbZoneColon       = 3 // %Ez: +01:00
)

// utcLayout is how times are written that have no format of their own (OP-20).
const utcLayout = "%Y-%m-%dT%H:%M:%E3SZ"

// compileTime compiles %START_TIME%, %EMIT_TIME% and their local forms.
func compileTime(c command) (op, error) {
	o := op{limit: -1}
	layout := c.argument
	if layout == "" {
		layout = utcLayout
		if strings.HasSuffix(c.name, "_LOCAL") {
			layout = "%Y-%m-%dT%H:%M:%E3S%Ez"
		}
	}
	var err error
	if o.layout, err = compileLayout(layout); err != nil {
		return o, err
	}
	switch {
	case c.name == "START_TIME" && layout == utcLayout:
		o.eval = appendStartISO
	case c.name == "EMIT_TIME" && layout == utcLayout:
		o.eval = appendEmitISO
	}
	if o.eval != nil {
		return o, nil
	}
	switch c.name {
	case "START_TIME":
		o.eval = appendStart
	case "START_TIME_LOCAL":
		o.eval = appendStartLocal
	case "EMIT_TIME":
		o.eval = appendEmit
	default:
		o.eval = appendEmitLocal
	}
	return o, nil
}

// compounds are conversions that stand for others.
var compounds = map[byte]string{
	'D': "%m/%d/%y", 'F': "%Y-%m-%d", 'T': "%H:%M:%S", 'R': "%H:%M", 'r': "%I:%M:%S %p",
	'c': "%a %b %e %H:%M:%S %Y", 'x': "%m/%d/%y", 'X': "%H:%M:%S", 'h': "%b",
}

func compileLayout(layout string) ([]timePart, error) {
	var parts []timePart
	for layout != "" {
		percent := strings.IndexByte(layout, '%')
		if percent != 0 {
			if percent < 0 {
				percent = len(layout)
			}
			if strings.ContainsAny(layout[:percent], "\r\n") {
				return nil, errors.New("a line break in a time format")
			}
			parts = append(parts, timePart{text: layout[:percent]})
			layout = layout[percent:]
			continue
		}
		p, size, err := compileVerb(layout)
		if err != nil {
			return nil, err
		}
		if compound, ok := compounds[p.verb]; ok {
			more, err := compileLayout(compound)
			if err != nil {
				return nil, err
			}
			parts = append(parts, more...)
		} else {
			parts = append(parts, p)
		}
		layout = layout[size:]
	}
	return parts, nil
}

// compileVerb reads the conversion at the start of s, which begins with '%'.
func compileVerb(s string) (p timePart, size int, err error) {
	bad := fmt.Errorf("time format: unknown conversion %.4q", s)
	if len(s) < 2 {
		return p, 0, errors.New("time format: '%' at the end")
	}
	switch c := s[1]; {
	case c == '%':
		return timePart{text: "%"}, 2, nil
	case c == 'n', c == 't':
		return p, 0, errors.New("time format: a line break or tab")
	case c == 'f':
		return timePart{verb: verbFraction, digits: 9}, 2, nil
	case '1' <= c && c <= '9':
		if len(s) < 3 || s[2] != 'f' {
			return p, 0, bad
		}
		return timePart{verb: verbFraction, digits: int(c - '0')}, 3, nil
	case c == 'E':
		return compileExtended(s, bad)
	case strings.IndexByte("aAbBCdegGHIjmMpsSuUVwWyYzZDFTRrcxXh", c) >= 0:
		return timePart{verb: c}, 2, nil
	}
	return p, 0, bad
}

// compileExtended reads %E3S, %E*S, %E3f, %E*f, %Ez, %E4Y and %ET.
func compileExtended(s string, bad error) (p timePart, size int, err error) {
	rest := s[2:]
	switch {
	case strings.HasPrefix(rest, "z"):
		return timePart{verb: verbZoneColon}, 3, nil
	case strings.HasPrefix(rest, "T"):
		return timePart{text: "T"}, 3, nil
	case strings.HasPrefix(rest, "4Y"):
		return timePart{verb: 'Y'}, 4, nil
	case len(rest) < 2 || rest[0] != '*' && (rest[0] < '1' || rest[0] > '9'):
		return p, 0, bad
	}
	if rest[0] != '*' {
		p.digits = int(rest[0] - '0')
	}
	switch rest[1] {
	case 'S':
		p.verb = verbSecondsFraction
	case 'f':
		p.verb = verbFraction
	default:
		return p, 0, bad
	}
	return p, 4, nil
}

func appendStartISO(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendISO(dst, i.StartUnixNs)
}

func appendEmitISO(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendISO(dst, emitUnixNs(i))
}

// appendISO is appendTime for utcLayout, which most access logs have in each line, in one go.
func (o *op) appendISO(dst []byte, unixNs int64) ([]byte, bool) {
	if unixNs <= 0 { // unset, or a clock that stands before 1970
		return o.appendTime(dst, unixNs, time.UTC)
	}
	year, month, day := time.Unix(0, unixNs).UTC().Date()
	ms := int(unixNs / int64(time.Millisecond) % int64(24*time.Hour/time.Millisecond))
	const blank = "0000-00-00T00:00:00.000Z"
	dst = append(dst, blank...)
	b := dst[len(dst)-len(blank):]
	twoDigits(b[0:], year/100)
	twoDigits(b[2:], year%100)
	twoDigits(b[5:], int(month))
	twoDigits(b[8:], day)
	twoDigits(b[11:], ms/3_600_000)
	twoDigits(b[14:], ms/60_000%60)
	twoDigits(b[17:], ms/1000%60)
	twoDigits(b[20:], ms%1000/10)
	b[22] = byte('0' + ms%10)
	return dst, true
}

// twoDigits writes v, 0 to 99, over the beginning of b.
func twoDigits(b []byte, v int) {
	_ = b[1]
	b[0], b[1] = byte('0'+v/10), byte('0'+v%10)
}

func appendStart(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendTime(dst, i.StartUnixNs, time.UTC)
}

func appendStartLocal(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendTime(dst, i.StartUnixNs, time.Local)
}

// The moment a line is written is that of the stream's end, by the clock of its start.
func emitUnixNs(i *streaminfo.Info) int64 {
	if i.End == 0 || i.StartUnixNs == 0 {
		return i.StartUnixNs
	}
	return i.StartUnixNs + i.End - i.Start
}

func appendEmit(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendTime(dst, emitUnixNs(i), time.UTC)
}

func appendEmitLocal(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	return o.appendTime(dst, emitUnixNs(i), time.Local)
}

func (o *op) appendTime(dst []byte, unixNs int64, zone *time.Location) ([]byte, bool) {
	if unixNs == 0 {
		return dst, false
	}
	return o.appendMoment(dst, time.Unix(0, unixNs).In(zone)), true
}

// appendMoment appends t by the op's layout.
func (o *op) appendMoment(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	for n := range o.layout {
		switch p := &o.layout[n]; p.verb {
		case 0:
			dst = append(dst, p.text...)
		case 'Y':
			dst = strconv.AppendInt(dst, int64(year), 10)
		case 'm':
			dst = padded(dst, int(month), 2)
		case 'd':
			dst = padded(dst, day, 2)
		case 'H':
			dst = padded(dst, hour, 2)
		case 'M':
			dst = padded(dst, minute, 2)
		case 'S':
			dst = padded(dst, second, 2)
		case verbSecondsFraction:
			dst = padded(dst, second, 2)
			if p.digits > 0 || t.Nanosecond() > 0 {
				dst = appendFraction(append(dst, '.'), t.Nanosecond(), p.digits)
			}
		case verbFraction:
			dst = appendFraction(dst, t.Nanosecond(), p.digits)
		case 's':
			dst = strconv.AppendInt(dst, t.Unix(), 10)
		default:
			dst = appendRare(dst, p.verb, t)
		}
	}
	return dst
}

// appendRare writes the conversions that few formats use.
func appendRare(dst []byte, verb byte, t time.Time) []byte {
	switch verb {
	case 'a':
		return append(dst, t.Weekday().String()[:3]...)
	case 'A':
		return append(dst, t.Weekday().String()...)
	case 'b':
		return append(dst, t.Month().String()[:3]...)
	case 'B':
		return append(dst, t.Month().String()...)
	case 'C':
		return padded(dst, t.Year()/100, 2)
	case 'y':
		return padded(dst, t.Year()%100, 2)
	case 'e':
		if t.Day() < 10 {
			dst = append(dst, ' ')
		}
		return strconv.AppendInt(dst, int64(t.Day()), 10)
	case 'I':
		return padded(dst, (t.Hour()+11)%12+1, 2)
	case 'p':
		if t.Hour() < 12 {
			return append(dst, "AM"...)
		}
		return append(dst, "PM"...)
	case 'j':
		return padded(dst, t.YearDay(), 3)
	case 'u':
		return padded(dst, (int(t.Weekday())+6)%7+1, 1)
	case 'w':
		return padded(dst, int(t.Weekday()), 1)
	case 'U':
		return padded(dst, (t.YearDay()+6-int(t.Weekday()))/7, 2)
	case 'W':
		return padded(dst, (t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2)
	case 'V':
		_, week := t.ISOWeek()
		return padded(dst, week, 2)
	case 'G':
		year, _ := t.ISOWeek()
		return strconv.AppendInt(dst, int64(year), 10)
	case 'g':
		year, _ := t.ISOWeek()
		return padded(dst, year%100, 2)
	case 'Z':
		name, _ := t.Zone()
		return append(dst, name...)
	case 'z':
		return appendZone(dst, t, false)
	case verbZoneColon:
		return appendZone(dst, t, true)
	}
	return dst
}

func appendZone(dst []byte, t time.Time, colon bool) []byte {
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = padded(append(dst, sign), offset/3600, 2)
	if colon {
		dst = append(dst, ':')
	}
	return padded(dst, offset/60%60, 2)
}

// padded appends a number that is not negative with at least width digits.
func padded(dst []byte, v, width int) []byte {
	if width == 2 && v < 100 {
		return append(dst, byte('0'+v/10), byte('0'+v%10))
	}
	for limit := 10; width > 1; width-- {
		if v < limit {
			dst = append(dst, '0')
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, int64(v), 10)
}

// appendFraction appends the first digits of a second's fraction; with 0, all but the last zeros.
func appendFraction(dst []byte, ns, digits int) []byte {
	if digits == 3 {
		ms := ns / 1_000_000
		return append(dst, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	}
	var all [9]byte
	for n := len(all) - 1; n >= 0; n-- {
		all[n] = byte('0' + ns%10)
		ns /= 10
	}
	if digits == 0 {
		digits = len(all)
		for digits > 1 && all[digits-1] == '0' {
			digits--
		}
	}
	return append(dst, all[:digits]...)
}
