package runtime

import (
	"math"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// parseUint reads a number as OP-31 has it: doubles are rounded down. Negative ones are none.
func parseUint(text string) (uint64, bool) {
	if v, err := strconv.ParseUint(text, 10, 64); err == nil {
		return v, true
	}
	f, ok := parseFloat(text)
	if !ok || f < 0 || f >= math.MaxUint64 {
		return 0, false
	}
	return uint64(f), true
}

func parseFloat(text string) (float64, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

func parseBool(text string) (v, ok bool) {
	switch {
	case strings.EqualFold(text, "true"):
		return true, true
	case strings.EqualFold(text, "false"):
		return false, true
	}
	return false, false
}

// ParseFraction reads a share: a number, which is a percentage, a boolean, which is all or nothing, or the members of a FractionalPercent, one
// a line or between braces, with or without quotes.
//
//	50    12.9    {numerator: 5, denominator: TEN_THOUSAND}    {"numerator":5}    numerator: 5\ndenominator: MILLION
func ParseFraction(text string) (conf.Fraction, bool) {
	if v, ok := parseBool(text); ok {
		if v {
			return conf.Fraction{Numerator: 100, Denominator: 100}, true
		}
		return conf.Fraction{Denominator: 100}, true
	}
	if v, ok := parseUint(text); ok {
		return conf.Fraction{Numerator: uint32(min(v, math.MaxUint32)), Denominator: 100}, true
	}
	out, found := conf.Fraction{Denominator: 100}, false
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") != strings.HasSuffix(text, "}") {
		return out, false
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		name, value, ok := strings.Cut(part, ":")
		if !ok && strings.TrimSpace(part) == "" {
			continue
		}
		value = unquote(value)
		switch unquote(name) {
		case "numerator":
			v, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return out, false
			}
			out.Numerator, found = uint32(v), true
		case "denominator":
			switch value {
			case "HUNDRED", "0":
				out.Denominator = 100
			case "TEN_THOUSAND", "1":
				out.Denominator = 10_000
			case "MILLION", "2":
				out.Denominator = 1_000_000
			default:
				return out, false
			}
		default:
			return out, false
		}
	}
	return out, found
}

func unquote(s string) string { return strings.Trim(strings.TrimSpace(s), `"'`) }
