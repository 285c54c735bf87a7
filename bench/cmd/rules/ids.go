package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// rules are the ids that are asked for, in their order.
type rules struct {
	ids   []string
	known map[string]bool
	// mention finds a prefix and a number: RT-12 as texts write it, RT12 as names do. It is not preceded by
	// a capital, with which it would be the end of another word.
	mention *regexp.Regexp
}

var (
	id      = regexp.MustCompile(`^[A-Z]+-[0-9]+[a-z]?$`)
	defined = regexp.MustCompile(`(?m)^([A-Z]+-[0-9]+[a-z]?)\b`)
	// goesOn continues a mention: "to 22", "and 33", ", 34", "And33".
	goesOn = regexp.MustCompile(`^(?:( to )|, | and |And)([0-9]+)([a-z])?`)
	upTo   = regexp.MustCompile(`^ to $`)
)

// newRules makes a set of rules. An id that comes twice counts once.
func newRules(list []string) (*rules, error) {
	r := &rules{known: map[string]bool{}}
	var prefixes []string
	for _, s := range list {
		if !id.MatchString(s) {
			return nil, fmt.Errorf("%q is no rule id", s)
		}
		if r.known[s] {
			continue
		}
		r.known[s], r.ids = true, append(r.ids, s)
		if p, _, _ := strings.Cut(s, "-"); !strings.Contains("|"+strings.Join(prefixes, "|")+"|", "|"+p+"|") {
			prefixes = append(prefixes, p)
		}
	}
	if len(prefixes) == 0 {
		return nil, fmt.Errorf("no rule ids")
	}
	r.mention = regexp.MustCompile(`(?:^|[^A-Z])(` + strings.Join(prefixes, "|") + `)-?([0-9]+)([a-z])?`)
	return r, nil
}

// definedIn returns the ids that lines of a specification begin with, in order.
func definedIn(text string) (out []string) {
	for _, m := range defined.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// in returns the rules that a text mentions, by themselves or in a range: "RT-20 to RT-28", "RT-43 to 46",
// "RT-25, 27", TestRT24And33.
func (r *rules) in(text string) map[string]bool {
	out := map[string]bool{}
	last, lastEnd := "", -1 // the mention before, for a range
	for _, m := range r.mention.FindAllStringSubmatchIndex(text, -1) {
		prefix, number := text[m[2]:m[3]], text[m[4]:m[5]]
		end := m[5]
		one := prefix + "-" + number
		if m[6] >= 0 && r.known[one+text[m[6]:m[7]]] {
			one, end = one+text[m[6]:m[7]], m[7]
		}
		if lastEnd >= 0 && lastEnd <= m[2] && upTo.MatchString(text[lastEnd:m[2]]) {
			r.span(out, last, one)
		}
		r.add(out, one)
		for {
			c := goesOn.FindStringSubmatchIndex(text[end:])
			if c == nil {
				break
			}
			next := prefix + "-" + text[end+c[4]:end+c[5]]
			if c[6] >= 0 && r.known[next+text[end+c[6]:end+c[7]]] {
				next += text[end+c[6] : end+c[7]]
			}
			if c[2] >= 0 {
				r.span(out, one, next)
			}
			r.add(out, next)
			one, end = next, end+c[1]
		}
		last, lastEnd = one, end
	}
	return out
}

func (r *rules) add(out map[string]bool, one string) {
	if r.known[one] {
		out[one] = true
	}
}

// span adds the rules whose numbers are between two of the same prefix.
func (r *rules) span(out map[string]bool, from, to string) {
	prefix, least := split(from)
	if p, most := split(to); p == prefix {
		for _, one := range r.ids {
			if p, n := split(one); p == prefix && n >= least && n <= most {
				out[one] = true
			}
		}
	}
}

func split(one string) (prefix string, number int) {
	prefix, rest, _ := strings.Cut(one, "-")
	number, _ = strconv.Atoi(strings.TrimRight(rest, "abcdefghijklmnopqrstuvwxyz"))
	return prefix, number
}
