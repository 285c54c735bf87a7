package envoy

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// scalar decodes n for a field of scalar kind. The field decides what unquoted text means, so an
// unquoted port is a number and an unquoted domain a string; what a YAML reader that looks at the
// text alone would take for something else than the field wants is an error.
func (d *decoder) scalar(n *node, fd protoreflect.FieldDescriptor, at place) (none protoreflect.Value, ok bool) {
	if n.kind != scalarNode {
		d.errs.at(at, "expected %s, got %s", kindName(fd), n.describe())
		return none, false
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		s, ok := d.text(n, at)
		return protoreflect.ValueOfString(s), ok
	case protoreflect.BytesKind:
		b, ok := d.bytes(n, at)
		return protoreflect.ValueOfBytes(b), ok
	case protoreflect.BoolKind:
		v, isBool := parseBool(n.text)
		if n.style == quotedStyle || !isBool {
			d.errs.at(at, "expected true or false, got %s", n.describe())
			return none, false
		}
		return protoreflect.ValueOfBool(v), true
	case protoreflect.EnumKind:
		return d.enum(n, fd, at)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || !decimal(n.text) {
			d.errs.at(at, "expected a number, got %s", n.describe())
			return none, false
		}
		if fd.Kind() == protoreflect.FloatKind {
			return protoreflect.ValueOfFloat32(float32(f)), true
		}
		return protoreflect.ValueOfFloat64(f), true
	}
	return d.integer(n, fd, at)
}

// text is a string: quoted, or unquoted and not mistakable for a boolean or an integer.
func (d *decoder) text(n *node, at place) (string, bool) {
	switch {
	case n.style == jsonStyle:
		d.errs.at(at, "expected a string, got %s", n.describe())
		return "", false
	case n.isBool():
		d.errs.at(at, "expected a string: YAML reads %s as a boolean; put it in quotes", n.text)
		return "", false
	case n.isInteger():
		d.errs.at(at, "expected a string: YAML reads %s as a number; put it in quotes", n.text)
		return "", false
	case !utf8.ValidString(n.text):
		d.errs.at(at, "the string is not UTF-8")
		return "", false
	}
	return n.text, true
}

func (d *decoder) bytes(n *node, at place) ([]byte, bool) {
	text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(n.text, "="))
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || n.style == jsonStyle {
		d.errs.at(at, "expected bytes in base64, got %s", n.describe())
		return nil, false
	}
	return b, true
}

func (d *decoder) enum(n *node, fd protoreflect.FieldDescriptor, at place) (none protoreflect.Value, ok bool) {
	ed := fd.Enum()
	if v := ed.Values().ByName(protoreflect.Name(n.text)); v != nil && n.style != jsonStyle {
		return protoreflect.ValueOfEnum(v.Number()), true
	}
	if n.style != quotedStyle && n.isInteger() {
		if v, err := strconv.ParseInt(n.text, 10, 32); err == nil {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(v)), true
		}
	}
	rule, _ := supportOf(fd.ContainingMessage().FullName(), fd.Name())
	d.errs.at(at, "%s is not a value of %s; allowed: %s", shorten(n.text), ed.Name(), alternatives(allowedValues(ed, rule)))
	return none, false
}

// allowedValues lists the supported values of an enum.
func allowedValues(ed protoreflect.EnumDescriptor, rule rule) []string {
	if len(rule.values) > 0 {
		return rule.values
	}
	var names []string
	for i := range ed.Values().Len() {
		names = append(names, string(ed.Values().Get(i).Name()))
	}
	return names
}

// integer decodes the integer kinds: digits, quoted or not, also written as 1e3 or 2.0.
func (d *decoder) integer(n *node, fd protoreflect.FieldDescriptor, at place) (none protoreflect.Value, ok bool) {
	base, text := 10, n.text
	if isOctalLooking(text) {
		if fd.FullName() != "envoy.config.core.v3.Pipe.mode" {
			d.errs.at(at, "%s is octal to some YAML readers and decimal to others; write it without the leading zero", text)
			return none, false
		}
		base = 8
	} else if n.style == plainStyle && n.isInteger() && strings.HasPrefix(strings.ToLower(strings.TrimPrefix(text, "-")), "0x") {
		base = 0
	}
	if base == 10 && decimal(text) && strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
			d.errs.at(at, "expected an integer, got %s", n.describe())
			return none, false
		}
		text = strconv.FormatInt(int64(f), 10)
	}
	bits, signed := 64, true
	switch fd.Kind() {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		bits = 32
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		bits, signed = 32, false
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		signed = false
	}
	var i int64
	var u uint64
	var err error
	if signed {
		i, err = strconv.ParseInt(text, base, bits)
	} else {
		u, err = strconv.ParseUint(text, base, bits)
	}
	if err != nil {
		if decimal(n.text) || n.isInteger() {
			d.errs.at(at, "%s is out of range for %s", n.text, fd.Kind())
		} else {
			d.errs.at(at, "expected a number, got %s", n.describe())
		}
		return none, false
	}
	switch {
	case signed && bits == 32:
		return protoreflect.ValueOfInt32(int32(i)), true
	case signed:
		return protoreflect.ValueOfInt64(i), true
	case bits == 32:
		return protoreflect.ValueOfUint32(uint32(u)), true
	}
	return protoreflect.ValueOfUint64(u), true
}

// freeScalar decodes a scalar without a field to say what it is.
func (d *decoder) freeScalar(n *node, at place) *structpb.Value {
	if n.style == quotedStyle {
		return structpb.NewStringValue(n.text)
	}
	if v, ok := parseBool(n.text); ok {
		return structpb.NewBoolValue(v)
	}
	if isOctalLooking(n.text) && n.isInteger() {
		d.errs.at(at, "%s is octal to some YAML readers and decimal to others; write it without the leading zero or in quotes", n.text)
		return structpb.NewNullValue()
	}
	if n.isInteger() {
		if i, err := strconv.ParseInt(n.text, 0, 32); err == nil {
			return structpb.NewNumberValue(float64(i))
		}
		if n.style == plainStyle {
			return structpb.NewStringValue(n.text)
		}
	}
	if f, err := strconv.ParseFloat(n.text, 64); err == nil && decimal(n.text) && !math.IsInf(f, 0) {
		return structpb.NewNumberValue(f)
	}
	if !utf8.ValidString(n.text) {
		d.errs.at(at, "the string is not UTF-8")
	}
	return structpb.NewStringValue(n.text)
}

// decimal says whether s has the grammar of a JSON number.
func decimal(s string) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	s = strings.TrimPrefix(s, "-")
	if isOctalLooking(s) || !digits() {
		return false
	}
	if strings.HasPrefix(s, ".") {
		if s = s[1:]; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		return digits() && s == ""
	}
	return s == ""
}

// kindName names what a field wants.
func kindName(fd protoreflect.FieldDescriptor) string {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.BytesKind:
		return "bytes in base64"
	case protoreflect.EnumKind:
		return "one value of " + string(fd.Enum().Name())
	}
	return "a number"
}

// suggestField finds the field that an unknown name was probably meant to be.
func suggestField(md protoreflect.MessageDescriptor, name string) string {
	var best string
	bestDistance := max(1, len(name)/3) + 1
	fields := md.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		candidate := string(fd.Name())
		distance := min(editDistance(name, candidate), editDistance(name, fd.JSONName()))
		if _, ok := supportOf(md.FullName(), fd.Name()); !ok {
			distance++ // a supported field is the better guess
		}
		if distance < bestDistance {
			best, bestDistance = candidate, distance
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours, ignoring case.
func editDistance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if len(a) > 64 {
		return len(a)
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = slices.Min([]int{last[j] + 1, row[j-1] + 1, last[j-1] + cost})
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
