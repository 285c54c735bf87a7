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
	s := &substitution{pattern: r}
	for i := 0; i < len(c.Substitution); i++ {
		switch b := c.Substitution[i]; b {
		case '$':
			s.by += "$$"
		case '\\':
			i++
			if i == len(c.Substitution) {
				return nil, fmt.Errorf(`substitution: %q ends in a backslash; a literal one is \\`, c.Substitution)
			}
			switch d := c.Substitution[i]; {
			case d == '\\':
				s.by += `\`
			case '0' <= d && d <= '9':
				if int(d-'0') > r.NumSubexp() {
					return nil, fmt.Errorf(`substitution: there is no group \%c; the pattern has %d`, d, r.NumSubexp())
				}
				s.by += "${" + string(d) + "}"
			default:
				return nil, fmt.Errorf(`substitution: \%c means nothing; \0 to \9 are groups and \\ is a backslash`, d)
			}
		default:
			s.by += c.Substitution[i : i+1]
		}
	}
	return s, nil
}

// apply replaces every match in text. It allocates the result.
func (s *substitution) apply(text []byte) []byte { return s.pattern.ReplaceAll(text, []byte(s.by)) }
