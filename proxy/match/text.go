package match

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Text compares one value: a compiled StringMatcher. Immutable. The zero value matches the empty text.
type Text struct {
	regex *regexp.Regexp
	value string // lower case when fold
	kind  conf.StringMatchKind
	fold  bool
}

// CompileText compiles one of the string kinds (exact, prefix, suffix, contains, regex). An empty
// prefix, suffix or contains is refused: it would match everything.
func CompileText(c conf.StringMatcher) (Text, error) {
	t := Text{kind: c.Kind, value: c.Value, fold: c.IgnoreCase}
	switch c.Kind {
	case conf.MatchExact:
	case conf.MatchRegex:
		var err error
		if t.regex, err = FullRegex(c.Value); err != nil {
			return t, fmt.Errorf("safe_regex: %w", err)
		}
		return t, nil
	case conf.MatchPrefix, conf.MatchSuffix, conf.MatchContains:
		if c.Value == "" {
			return t, errors.New("an empty prefix, suffix or contains value matches everything; use present_match")
		}
	default:
		return t, fmt.Errorf("string matcher of unknown kind %d", c.Kind)
	}
	if t.fold {
		t.value = lowerASCII(c.Value)
	}
	return t, nil
}

// FullRegex compiles an RE2 expression that has to match a whole text, line ends included.
func FullRegex(pattern string) (*regexp.Regexp, error) {
	// By itself first: "a)(b" is an error that the group around it would hide.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// Matches says whether v fits. A regular expression takes its scratch from a pool; nothing else
// allocates.
func (t *Text) Matches(v []byte) bool {
	n := len(t.value)
	switch t.kind {
	case conf.MatchPrefix:
		return len(v) >= n && t.equal(v[:n])
	case conf.MatchSuffix:
		return len(v) >= n && t.equal(v[len(v)-n:])
	case conf.MatchContains:
		for ; len(v) >= n; v = v[1:] {
			if t.equal(v[:n]) {
				return true
			}
			if !t.fold { // to where the first byte occurs next
				i := bytes.IndexByte(v[1:], t.value[0])
				if i < 0 {
					return false
				}
				v = v[i:]
			}
		}
		return false
	case conf.MatchRegex:
		return t.regex.Match(v)
	}
	return t.equal(v)
}

func (t *Text) equal(v []byte) bool {
	return string(v) == t.value || t.fold && header.EqualFold(v, t.value)
}

// String says what is wanted: `begins with "/api"`. Cold.
func (t *Text) String() string {
	verb := "is"
	switch t.kind {
	case conf.MatchPrefix:
		verb = "begins with"
	case conf.MatchSuffix:
		verb = "ends in"
	case conf.MatchContains:
		verb = "contains"
	case conf.MatchRegex:
		return "matches the expression " + strconv.Quote(t.value)
	}
	text := verb + " " + strconv.Quote(t.value)
	if t.fold {
		text += " in any letter case"
	}
	return text
}

// lowerASCII folds ASCII letters only, as the matching does.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}
