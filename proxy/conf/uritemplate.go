package conf

import (
	"fmt"
	"regexp"
	"strings"
)

// Limits of a path template, which are Envoy's.
const (
	maxVariables     = 5
	maxVariableName  = 16
	templateOperator = "*"
)

// URITemplate is a path template (UriTemplateMatchConfig) as an expression, with a group for each variable:
//
//	/v{version}/{kind=a/*}/**  ->  /v([^/]+)/(a/[^/]+)/.*
type URITemplate struct {
	Expression string
	Variables  []string // of the groups
}

// ParseURITemplate reads a path template (RT-41): "*" is one segment or the part of one, "**" any rest and
// the last operator, {name} a "*" and {name=pattern} a pattern that a rewrite can use.
func ParseURITemplate(text string) (*URITemplate, error) {
	if text == "" || text[0] != '/' {
		return nil, fmt.Errorf("%q must begin with '/'", text)
	}
	t := &URITemplate{}
	p := templateParser{URITemplate: t, rest: text}
	if err := p.pieces(false); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return t, nil
}

type templateParser struct {
	*URITemplate
	rest string
	// last is true after "**": no operator may follow.
	last bool
	// operator is true right after one: two in a row have no border between them.
	operator bool
}

// pieces reads up to the end, or of a variable's pattern up to its brace.
func (p *templateParser) pieces(inVariable bool) error {
	for p.rest != "" {
		switch c := p.rest[0]; c {
		case '*':
			if err := p.star(); err != nil {
				return err
			}
		case '{':
			if inVariable {
				return fmt.Errorf("a variable within a variable")
			}
			if err := p.variable(); err != nil {
				return err
			}
		case '}':
			if inVariable {
				return nil
			}
			return fmt.Errorf("'}' without '{'")
		default:
			if c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
				return fmt.Errorf("character %q is not allowed", c)
			}
			if c == '/' && strings.HasPrefix(p.rest, "//") {
				return fmt.Errorf("an empty segment")
			}
			p.Expression += regexp.QuoteMeta(p.rest[:1])
			p.rest, p.operator = p.rest[1:], false
		}
	}
	if inVariable {
		return fmt.Errorf("'{' without '}'")
	}
	return nil
}

func (p *templateParser) star() error {
	if p.last {
		return fmt.Errorf("'**' must be the last operator")
	}
	if p.operator {
		return fmt.Errorf("two operators without a text between them")
	}
	p.operator = true
	if strings.HasPrefix(p.rest, "**") {
		p.Expression += ".*"
		p.rest, p.last = p.rest[2:], true
		return nil
	}
	p.Expression += "[^/]+"
	p.rest = p.rest[1:]
	return nil
}

func (p *templateParser) variable() error {
	p.rest = p.rest[1:]
	end := strings.IndexAny(p.rest, "=}")
	if end < 0 {
		return fmt.Errorf("'{' without '}'")
	}
	name := p.rest[:end]
	if err := p.declare(name); err != nil {
		return err
	}
	p.Expression += "("
	if p.rest[end] == '}' {
		p.rest = templateOperator + p.rest[end:]
	} else {
		p.rest = p.rest[end+1:]
	}
	if p.rest == "" {
		return fmt.Errorf("'{' without '}'")
	}
	if p.rest[0] == '}' {
		return fmt.Errorf("the pattern of variable %s is empty", name)
	}
	if err := p.pieces(true); err != nil {
		return err
	}
	p.rest = p.rest[1:]
	p.Expression += ")"
	return nil
}

func (p *templateParser) declare(name string) error {
	if !validVariable(name) {
		return fmt.Errorf("%q is not the name of a variable: a letter and up to %d letters, digits and '_'", name, maxVariableName-1)
	}
	for _, v := range p.Variables {
		if v == name {
			return fmt.Errorf("variable %s is there twice", name)
		}
	}
	if p.Variables = append(p.Variables, name); len(p.Variables) > maxVariables {
		return fmt.Errorf("more than %d variables", maxVariables)
	}
	return nil
}

func validVariable(name string) bool {
	if name == "" || len(name) > maxVariableName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '_'):
		default:
			return false
		}
	}
	return true
}

// Rewrite turns a path template rewrite (UriTemplateRewriteConfig) into what regexp's Expand takes.
func (t *URITemplate) Rewrite(text string) (string, error) {
	if text == "" || text[0] != '/' {
		return "", fmt.Errorf("%q must begin with '/'", text)
	}
	out := ""
	for rest := text; rest != ""; {
		c := rest[0]
		switch {
		case c == '{':
			name, after, ok := strings.Cut(rest[1:], "}")
			group := 0
			for i, v := range t.Variables {
				if v == name {
					group = i + 1
				}
			}
			if !ok || group == 0 {
				return "", fmt.Errorf("%q: the route's template has no variable %q", text, name)
			}
			out += fmt.Sprintf("${%d}", group)
			rest = after
			continue
		case c == '}' || c == '*' || c <= ' ' || c >= 0x7f || c == '?' || c == '#':
			return "", fmt.Errorf("%q: character %q is not allowed", text, c)
		case c == '$':
			out += "$$"
		default:
			out += rest[:1]
		}
		rest = rest[1:]
	}
	return out, nil
}
