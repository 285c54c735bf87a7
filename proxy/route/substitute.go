package route

import (
	"fmt"
	"regexp"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// substitution is a compiled RegexRewrite. Immutable. nil for none.
type substitution struct {
	pattern *regexp.Regexp
	// by is the replacement in the form of regexp's Expand.
	by string
}

// compileSubstitution checks both halves (RT-87). onWire refuses what cannot stand in a request target or
// host name.
func compileSubstitution(c *conf.RegexRewrite, onWire bool) (*substitution, error) {
	r, err := regexp.Compile(c.Pattern)
	if err != nil {
		return nil, fmt.Errorf("pattern.regex: %w", err)
	}
	if onWire && !graphic(c.Substitution) {
		return nil, fmt.Errorf("substitution: %q must hold neither spaces nor controls", c.Substitution)
	}
	by, err := c.Replacement(r.NumSubexp())
	if err != nil {
		return nil, fmt.Errorf("substitution: %w", err)
	}
	return &substitution{pattern: r, by: by}, nil
}

// apply replaces every match in text. It allocates the result.
func (s *substitution) apply(text []byte) []byte { return s.pattern.ReplaceAll(text, []byte(s.by)) }
