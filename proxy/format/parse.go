package format

import (
	"fmt"
	"strconv"
	"strings"
)

// parse cuts text into literals and operators.
//
//	%NAME% | %NAME(argument)% | %NAME(argument):limit% | %%
//
// NAME is upper case, digits and '_'; the argument is anything but ')'.
func parse(text string, generic bool) ([]op, error) {
	var ops []op
	literal := func(s string) {
		if s == "" {
			return
		}
		if n := len(ops); n > 0 && ops[n-1].eval == nil {
			ops[n-1].text += s
			return
		}
		ops = append(ops, op{text: s})
	}
	for pos := 0; pos < len(text); {
		percent := strings.IndexByte(text[pos:], '%')
		if percent < 0 {
			literal(text[pos:])
			break
		}
		literal(text[pos : pos+percent])
		pos += percent
		if strings.HasPrefix(text[pos:], "%%") {
			literal("%")
			pos += 2
			continue
		}
		c, size, err := scan(text[pos:])
		if err != nil {
			return nil, fmt.Errorf("offset %d: %w", pos, err)
		}
		o, err := compileCommand(c, generic)
		if err != nil {
			return nil, fmt.Errorf("offset %d: %%%s%%: %w", pos, c.name, err)
		}
		if o.eval == nil {
			literal(o.text)
		} else {
			ops = append(ops, o)
		}
		pos += size
	}
	return ops, nil
}

// command is one operator as written.
type command struct {
	name     string
	argument string
	hasArg   bool // "()" or "(...)"
	limit    int  // -1 without one
}

// scan reads the operator at the start of s, which begins with '%'.
func scan(s string) (c command, size int, err error) {
	end := 1
	for end < len(s) && (s[end] == '_' || 'A' <= s[end] && s[end] <= 'Z' || '0' <= s[end] && s[end] <= '9') {
		end++
	}
	c.name, c.limit = s[1:end], -1
	if c.name == "" {
		return c, 0, fmt.Errorf("'%%' begins no operator; a percent sign is written %%%%")
	}
	if end < len(s) && s[end] == '(' {
		length := strings.IndexByte(s[end:], ')')
		if length < 0 {
			return c, 0, fmt.Errorf("%%%s: '(' without ')'", c.name)
		}
		c.argument, c.hasArg = s[end+1:end+length], true
		end += length + 1
	}
	if end < len(s) && s[end] == ':' {
		digits := end + 1
		for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
			digits++
		}
		if c.limit, err = strconv.Atoi(s[end+1 : digits]); err != nil {
			return c, 0, fmt.Errorf("%%%s: no number after ':'", c.name)
		}
		end = digits
	}
	if end >= len(s) || s[end] != '%' {
		return c, 0, fmt.Errorf("%%%s has no closing '%%'", c.name)
	}
	return c, end + 1, nil
}
