package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// headerMatcher is a compiled config.route.v3.HeaderMatcher on the request head.
type headerMatcher struct {
	conf  conf.HeaderMatcher
	id    header.Known
	span  func(*header.Head) header.Span // set for pseudo-headers
	value []byte                         // lower case when the case is ignored
	regex *regexp.Regexp
}

func compileHeaderMatcher(c *conf.HeaderMatcher) (*headerMatcher, error) {
	if c == nil {
		return nil, errors.New("no matcher")
	}
	m := &headerMatcher{conf: *c}
	m.conf.Name = strings.ToLower(c.Name)
	if m.conf.Name == "" {
		return nil, errors.New("name: must not be empty")
	}
	if m.conf.Name == "host" {
		return nil, errors.New(`name: "host" is written ":authority" (RT-49)`)
	}
	if m.span = pseudo(m.conf.Name); m.conf.Name[0] == ':' && m.span == nil {
		return nil, fmt.Errorf("name: there is no header %s", m.conf.Name)
	}
	m.id = header.Lookup([]byte(m.conf.Name))
	m.value = []byte(c.Value)
	if c.IgnoreCase {
		m.value = bytes.ToLower(m.value)
	}
	switch c.Kind {
	case conf.MatchRegex:
		// By itself first: "a)(b" is an error that the group around it would hide.
		if _, err := regexp.Compile(c.Value); err != nil {
			return nil, fmt.Errorf("safe_regex: %w", err)
		}
		m.regex = regexp.MustCompile(`\A(?:` + c.Value + `)\z`)
	case conf.MatchRange:
		if c.Start >= c.End {
			return nil, fmt.Errorf("range_match: start %d is not below end %d", c.Start, c.End)
		}
	case conf.MatchPrefix, conf.MatchSuffix, conf.MatchContains:
		if c.Value == "" {
			return nil, errors.New("an empty prefix, suffix or contains value matches everything; use present_match")
		}
	}
	return m, nil
}

// pseudo returns how to find a pseudo-header, nil for other names.
func pseudo(name string) func(*header.Head) header.Span {
	switch name {
	case ":method":
		return func(h *header.Head) header.Span { return h.MethodText }
	case ":path":
		return func(h *header.Head) header.Span { return h.Path }
	case ":authority":
		return func(h *header.Head) header.Span { return h.Authority }
	case ":scheme":
		return func(h *header.Head) header.Span { return h.Scheme }
	}
	return nil
}

func (m *headerMatcher) match(h *header.Head) bool {
	var value []byte
	found := false
	if h != nil {
		value, found = m.find(h)
	}
	switch m.conf.Kind {
	case conf.MatchPresent:
		return found != m.conf.Invert
	case conf.MatchAbsent:
		return found == m.conf.Invert
	}
	if !found && !m.conf.TreatMissingAsEmpty {
		return false // RT-47: invert_match does not make a missing header match
	}
	return m.matchValue(value) != m.conf.Invert
}

// find returns the value; of several fields of the name, all joined with a comma.
func (m *headerMatcher) find(h *header.Head) (value []byte, found bool) {
	if m.span != nil {
		value = h.Bytes(m.span(h))
		return value, len(value) > 0
	}
	i := h.Find(m.id, m.conf.Name)
	if i < 0 {
		return nil, false
	}
	value = h.Bytes(h.Fields[i].Value)
	if next := h.Next(i); next >= 0 {
		return joinValues(h, next, value), true
	}
	return value, true
}

func joinValues(h *header.Head, next int, first []byte) []byte {
	joined := append([]byte(nil), first...)
	for ; next >= 0; next = h.Next(next) {
		joined = append(append(joined, ','), h.Bytes(h.Fields[next].Value)...)
	}
	return joined
}

func (m *headerMatcher) matchValue(v []byte) bool {
	switch m.conf.Kind {
	case conf.MatchRegex:
		return m.regex.Match(v)
	case conf.MatchRange:
		n, ok := parseInt(v)
		return ok && m.conf.Start <= n && n < m.conf.End
	case conf.MatchContains:
		if !m.conf.IgnoreCase {
			return bytes.Contains(v, m.value)
		}
		for i := 0; i+len(m.value) <= len(v); i++ {
			if m.equal(v[i : i+len(m.value)]) {
				return true
			}
		}
		return false
	case conf.MatchPrefix:
		return len(v) >= len(m.value) && m.equal(v[:len(m.value)])
	case conf.MatchSuffix:
		return len(v) >= len(m.value) && m.equal(v[len(v)-len(m.value):])
	}
	return m.equal(v)
}

// equal compares with m.value, ASCII letters without regard to case when so configured.
func (m *headerMatcher) equal(v []byte) bool {
	if !m.conf.IgnoreCase {
		return bytes.Equal(v, m.value)
	}
	if len(v) != len(m.value) {
		return false
	}
	for i, c := range v {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != m.value[i] {
			return false
		}
	}
	return true
}

func parseInt(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64) // the conversion does not escape
	return n, err == nil
}
