package route

import (
	"regexp"
	"regexp/syntax"
)

// literalPrefix returns what every text that the expression matches in full begins with; empty when that
// cannot be told. Where it is not the longest such text, a route is only tried more often than needed.
func literalPrefix(r *regexp.Regexp) string {
	parsed, err := syntax.Parse(r.String(), syntax.Perl)
	if err != nil {
		return ""
	}
	prefix, _ := literalOf(parsed)
	return prefix
}

// literalOf returns the literal that matches of re begin with, and whether that is all of each.
func literalOf(re *syntax.Regexp) (prefix string, whole bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText:
		return "", true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return "", false
		}
		return string(re.Rune), true
	case syntax.OpCapture:
		return literalOf(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			p, all := literalOf(sub)
			prefix += p
			if !all {
				return prefix, false
			}
		}
		return prefix, true
	case syntax.OpPlus: // once at least
		p, _ := literalOf(re.Sub[0])
		return p, false
	}
	return "", false
}
