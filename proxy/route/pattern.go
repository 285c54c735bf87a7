package route

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/match"
)

// literalPrefix returns what every text that the expression matches in full begins with; empty when that
// cannot be told. Where it is not the longest such text, a route is only tried more often than needed.
func literalPrefix(r *regexp.Regexp) string {
	parsed, err := syntax.Parse(r.String(), syntax.Perl)
	if err != nil {
		return ""
	}
	prefix, _ := literalOf(parsed)
	return prefix
}

// literalOf returns the literal that matches of re begin with, and whether that is all of each.
func literalOf(re *syntax.Regexp) (prefix string, whole bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText:
		return "", true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return "", false
		}
		return string(re.Rune), true
	case syntax.OpCapture:
		return literalOf(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			p, all := literalOf(sub)
			prefix += p
			if !all {
				return prefix, false
			}
		}
		return prefix, true
	case syntax.OpPlus: // once at least
		p, _ := literalOf(re.Sub[0])
		return p, false
	}
	return "", false
}

// Limits of a path template, which are Envoy's.
const (
	maxVariables     = 5
	maxVariableName  = 16
	templateOperator = "*"
)

// template is a compiled path template as an expression, with a group for each variable:
//
//	/v{version}/{kind=a/*}/**  ->  /v([^/]+)/(a/[^/]+)/.*
type template struct {
	expression string
	variables  []string // of the groups
}

// compileTemplate compiles a path template (RT-41): "*" is one segment or the part of one, "**" any rest
// and the last operator, {name} a "*" and {name=pattern} a pattern that a rewrite can use.
func compileTemplate(text string) (*regexp.Regexp, *template, error) {
	if text == "" || text[0] != '/' {
		return nil, nil, fmt.Errorf("path_template: %q must begin with '/'", text)
	}
	t := &template{}
	p := templateParser{template: t, rest: text}
	if err := p.pieces(false); err != nil {
		return nil, nil, fmt.Errorf("path_template: %q: %w", text, err)
	}
	r, err := match.FullRegex(t.expression)
	return r, t, err
}

type templateParser struct {
	*template
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
			p.expression += regexp.QuoteMeta(p.rest[:1])
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
		p.expression += ".*"
		p.rest, p.last = p.rest[2:], true
		return nil
	}
	p.expression += "[^/]+"
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
	p.expression += "("
	if p.rest[end] == '}' {
		p.rest = templateOperator + p.rest[end:]
	} else {
		p.rest = p.rest[end+1:]
	}
	if p.rest[0] == '}' {
		return fmt.Errorf("the pattern of variable %s is empty", name)
	}
	if err := p.pieces(true); err != nil {
		return err
	}
	p.rest = p.rest[1:]
	p.expression += ")"
	return nil
}

func (p *templateParser) declare(name string) error {
	if !validVariable(name) {
		return fmt.Errorf("%q is not the name of a variable: a letter and up to %d letters, digits and '_'", name, maxVariableName-1)
	}
	for _, v := range p.variables {
		if v == name {
			return fmt.Errorf("variable %s is there twice", name)
		}
	}
	if p.variables = append(p.variables, name); len(p.variables) > maxVariables {
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

// rewriteOf turns a path template rewrite into what regexp's Expand takes.
func (t *template) rewriteOf(text string) (string, error) {
	if text == "" || text[0] != '/' {
		return "", fmt.Errorf("path_template_rewrite: %q must begin with '/'", text)
	}
	out := ""
	for rest := text; rest != ""; {
		c := rest[0]
		switch {
		case c == '{':
			name, after, ok := strings.Cut(rest[1:], "}")
			group := 0
			for i, v := range t.variables {
				if v == name {
					group = i + 1
				}
			}
			if !ok || group == 0 {
				return "", fmt.Errorf("path_template_rewrite: %q: the route's template has no variable %q", text, name)
			}
			out += fmt.Sprintf("${%d}", group)
			rest = after
			continue
		case c == '}' || c == '*' || c <= ' ' || c >= 0x7f || c == '?' || c == '#':
			return "", fmt.Errorf("path_template_rewrite: %q: character %q is not allowed", text, c)
		case c == '$':
			out += "$$"
		default:
			out += rest[:1]
		}
		rest = rest[1:]
	}
	return out, nil
}
