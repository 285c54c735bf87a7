package secure

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// altNames are the subject alternative names of a certificate as they are written
// there; IP addresses in their usual form.
type altNames struct{ byType [conf.SANIP + 1][]string }

var oidAltNames = asn1.ObjectIdentifier{2, 5, 29, 17}

// tags of GeneralName (RFC 5280 4.2.1.6).
var nameTypes = map[int]conf.SANType{1: conf.SANEmail, 2: conf.SANDNS, 6: conf.SANURI, 7: conf.SANIP}

// namesOf reads a certificate's names from its extension: x509 parses URIs, and what
// it prints of them may be other bytes. x509 has checked the form.
func namesOf(c *x509.Certificate) *altNames {
	out := new(altNames)
	for i := range c.Extensions {
		if !c.Extensions[i].Id.Equal(oidAltNames) {
			continue
		}
		var all asn1.RawValue
		if _, err := asn1.Unmarshal(c.Extensions[i].Value, &all); err != nil {
			return out
		}
		for rest := all.Bytes; len(rest) > 0; {
			var one asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &one); err != nil {
				return out
			}
			kind, ok := nameTypes[one.Tag]
			if !ok || one.Class != asn1.ClassContextSpecific {
				continue
			}
			text := string(one.Bytes)
			if kind == conf.SANIP {
				ip, ok := netip.AddrFromSlice(one.Bytes)
				if !ok {
					continue
				}
				text = ip.String()
			}
			out.byType[kind] = append(out.byType[kind], text)
		}
	}
	return out
}

// has says whether one of the names, of whatever type, is the given one.
func (n *altNames) has(name string) bool {
	for kind, list := range n.byType {
		for _, v := range list {
			if v == name || conf.SANType(kind) == conf.SANDNS && dnsMatch(name, v) {
				return true
			}
		}
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		for _, v := range n.byType[conf.SANIP] {
			if v == ip.String() {
				return true
			}
		}
	}
	return false
}

// match says whether one of the names matches one of the matchers.
func (n *altNames) match(list []sanMatcher) bool {
	for i := range list {
		for _, v := range n.byType[list[i].kind] {
			if list[i].matches(v) {
				return true
			}
		}
	}
	return false
}

// dnsMatch says whether a certificate's DNS name, which may begin with a label "*", is
// for a host name.
func dnsMatch(name, pattern string) bool {
	if strings.EqualFold(name, pattern) {
		return true
	}
	label, parent, ok := strings.Cut(name, ".")
	rest, wild := strings.CutPrefix(pattern, "*.")
	return ok && wild && label != "" && strings.EqualFold(parent, rest)
}

// sanMatcher is a compiled conf.SANMatcher.
type sanMatcher struct {
	kind  conf.SANType
	how   conf.StringMatchKind
	value string // lower case when fold
	fold  bool
	regex *regexp.Regexp
}

func newSANMatcher(c *conf.SANMatcher) (sanMatcher, error) {
	m := sanMatcher{kind: c.Type, how: c.Name.Kind, value: c.Name.Value, fold: c.Name.IgnoreCase}
	if c.Type > conf.SANIP {
		return m, fmt.Errorf("unknown type %d", c.Type)
	}
	switch m.how {
	case conf.MatchExact:
		if ip, err := netip.ParseAddr(m.value); err == nil && m.kind == conf.SANIP {
			m.value = ip.String()
		}
	case conf.MatchPrefix, conf.MatchSuffix, conf.MatchContains:
		if m.value == "" {
			return m, errors.New("an empty prefix, suffix or contains value matches everything")
		}
	case conf.MatchRegex:
		// By itself first: "a)(b" is an error that the group around it would hide.
		if _, err := regexp.Compile(m.value); err != nil {
			return m, fmt.Errorf("safe_regex: %w", err)
		}
		m.regex, m.fold = regexp.MustCompile(`\A(?:`+m.value+`)\z`), false // ignore_case is not for regexes
	default:
		return m, fmt.Errorf("string matcher of unknown kind %d", m.how)
	}
	if m.fold {
		m.value = strings.ToLower(m.value)
	}
	return m, nil
}

func (m *sanMatcher) matches(v string) bool {
	if m.kind == conf.SANDNS && m.how == conf.MatchExact {
		return dnsMatch(m.value, v)
	}
	if m.fold {
		v = strings.ToLower(v)
	}
	switch m.how {
	case conf.MatchExact:
		return v == m.value
	case conf.MatchPrefix:
		return strings.HasPrefix(v, m.value)
	case conf.MatchSuffix:
		return strings.HasSuffix(v, m.value)
	case conf.MatchContains:
		return strings.Contains(v, m.value)
	}
	return m.regex.MatchString(v)
}
