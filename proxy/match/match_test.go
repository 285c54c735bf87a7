package match

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// TestContainsAgainstStrings: the search that jumps to the first byte finds what strings.Contains does.
func TestContainsAgainstStrings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part, v := rapid.StringMatching(`[ab]{1,4}`).Draw(t, "part"), rapid.StringMatching(`[abc]{0,12}`).Draw(t, "v")
		m, err := CompileText(conf.StringMatcher{Kind: conf.MatchContains, Value: part})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := m.Matches([]byte(v)), strings.Contains(v, part); got != want {
			t.Fatalf("%q in %q: %v", part, v, got)
		}
	})
}

// TestMatchersSayWhatTheyWant: what an explanation shows.
func TestMatchersSayWhatTheyWant(t *testing.T) {
	h := new(header.Head)
	h.Reset(nil)
	h.AddString(header.Unknown, "x-v", strings.Repeat("a", 70))
	for _, row := range []struct {
		c           conf.HeaderMatcher
		want, found string
	}{
		{conf.HeaderMatcher{Name: "x-n", Kind: conf.MatchExact, Value: "p"}, `header x-n is "p"`, "it is absent"},
		{conf.HeaderMatcher{Name: "x-n", Kind: conf.MatchPrefix, Value: "P", IgnoreCase: true}, `header x-n begins with "p" in any letter case`, "it is absent"},
		{conf.HeaderMatcher{Name: "x-n", Kind: conf.MatchRange, Start: 1, End: 5, Invert: true}, "header x-n is not a number from 1 to below 5", "it is absent"},
		{conf.HeaderMatcher{Name: "x-n", Kind: conf.MatchPresent, Invert: true}, "header x-n is absent", "it is absent"},
		{conf.HeaderMatcher{Name: "x-v", Kind: conf.MatchRegex, Value: "b", Invert: true}, `header x-v is there but not so: matches the expression "b"`, `it is "` + strings.Repeat("a", 64) + `..."`},
	} {
		m, err := CompileHeader(&row.c)
		if err != nil {
			t.Fatal(err)
		}
		if m.String() != row.want || m.Found(h) != row.found {
			t.Errorf("got  %s; %s\nwant %s; %s", m.String(), m.Found(h), row.want, row.found)
		}
	}
}

func TestParseInt64AgainstStrconv(t *testing.T) {
	check := func(s string) {
		want, err := strconv.ParseInt(s, 10, 64)
		got, ok := parseInt64([]byte(s))
		if ok != (err == nil) || ok && got != want {
			t.Errorf("parseInt64(%q) = %d, %v; strconv says %d, %v", s, got, ok, want, err)
		}
	}
	for _, s := range []string{"", "-", "+", "+1", "-0", "00012", " 1", "1 ", "0x1", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "92233720368547758070", strconv.FormatUint(math.MaxUint64, 10)} {
		check(s)
	}
	rapid.Check(t, func(t *rapid.T) { check(rapid.StringMatching(`[+-]?[0-9]{0,21}x?`).Draw(t, "s")) })
}
