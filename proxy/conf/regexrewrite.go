package conf

import "fmt"

// RegexRewrite is type.matcher.v3.RegexMatchAndSubstitute: every match of Pattern becomes Substitution, in
// which \0 to \9 are groups and \\ is a backslash.
type RegexRewrite struct{ Pattern, Substitution string }

// Replacement returns the substitution as regexp's Expand takes it, for a pattern with so many groups; the
// error says what is wrong with it (RT-87).
func (r *RegexRewrite) Replacement(groups int) (string, error) {
	out := ""
	for i := 0; i < len(r.Substitution); i++ {
		switch r.Substitution[i] {
		case '$':
			out += "$$"
		case '\\':
			i++
			if i == len(r.Substitution) {
				return "", fmt.Errorf(`%q ends in a backslash; a literal one is \\`, r.Substitution)
			}
			switch d := r.Substitution[i]; {
			case d == '\\':
				out += `\`
			case '0' <= d && d <= '9':
				if int(d-'0') > groups {
					return "", fmt.Errorf(`there is no group \%c; the pattern has %d`, d, groups)
				}
				out += "${" + string(d) + "}"
			default:
				return "", fmt.Errorf(`\%c means nothing; \0 to \9 are groups and \\ is a backslash`, d)
			}
		default:
			out += r.Substitution[i : i+1]
		}
	}
	return out, nil
}
