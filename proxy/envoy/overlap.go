package envoy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// criteria name the parts of a filter_chain_match in the order they are tried (TCP-80).
var criteria = [...]string{
	"destination port", "destination prefix", "server name", "transport protocol", "application protocol",
	"direct source prefix", "source type", "source prefix", "source port",
}

// chainMatch is a filter_chain_match as text: for each criterion the values that it takes, or one
// empty text when it takes any. A connection chooses one value of each, so two chains that have a
// value of every criterion in common leave the choice open.
type chainMatch struct {
	chain, at place
	values    [len(criteria)][]string
}

// chainMatch refuses values that are listed twice.
func (c *compiler) chainMatch(m *conf.FilterChainMatch, chain, at place) chainMatch {
	out := chainMatch{chain: chain, at: at}
	out.values = [...][]string{
		texts(present(m.DestinationPort)), texts(m.DestinationPrefixes), m.ServerNames, present(m.TransportProtocol), m.ApplicationProtocols,
		texts(m.DirectSourcePrefixes), texts(present(sourceTypes[m.SourceType])), texts(m.SourcePrefixes), texts(m.SourcePorts),
	}
	for k, list := range out.values {
		seen := map[string]bool{}
		for _, v := range list {
			if seen[v] {
				c.errs.at(at, "has the %s %s twice", criteria[k], v)
			}
			seen[v] = true
		}
		if len(list) == 0 {
			out.values[k] = []string{""}
		}
	}
	return out
}

var sourceTypes = [...]string{conf.SourceLocal: "SAME_IP_OR_LOOPBACK", conf.SourceExternal: "EXTERNAL"}

// present is a list of v, or of nothing when v says nothing.
func present[T comparable](v T) []T {
	if v == *new(T) {
		return nil
	}
	return []T{v}
}

func texts[T any](list []T) (out []string) {
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// always says whether every connection matches.
func (m *chainMatch) always() bool {
	for _, list := range m.values {
		if list[0] != "" {
			return false
		}
	}
	return true
}

// overlaps refuses filter chains that match the same connections (TCP-84).
func (c *compiler) overlaps(matches []chainMatch) {
	// Chains differ mostly by port and server name: only those that agree in both are compared.
	before := map[[2]string][]int{}
	for i := range matches {
		m := &matches[i]
		reported := false
		for _, port := range m.values[0] {
			for _, name := range m.values[2] {
				key := [2]string{port, name}
				for _, j := range before[key] {
					common, ok := m.common(&matches[j], name)
					if !ok || reported {
						continue
					}
					reported = true
					other := matches[j].chain
					c.errs.at(m.at, "matches what %s, at %d:%d, matches: %s", lastStep(other.path), other.pos.line, other.pos.col, common)
				}
				before[key] = append(before[key], i)
			}
		}
	}
}

// common describes connections that both match and whose server name is name; false when there are none.
func (m *chainMatch) common(other *chainMatch, name string) (string, bool) {
	var words []string
	for k, list := range m.values {
		i := slices.IndexFunc(list, func(v string) bool {
			return (k != 2 || v == name) && slices.Contains(other.values[k], v)
		})
		if i < 0 {
			return "", false
		}
		if list[i] != "" {
			words = append(words, criteria[k]+" "+list[i])
		}
	}
	if len(words) == 0 {
		return "every connection", true
	}
	return strings.Join(words, ", "), true
}

// lastStep is the end of a path, filter_chains[1] of listeners[0].filter_chains[1].
func lastStep(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
