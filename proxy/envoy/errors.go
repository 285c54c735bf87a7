package envoy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one fault of a configuration, printed on one line as "file:line:col: path: message".
type Error struct {
	// File is the name of the text: the path given, "config" or "--config-yaml".
	File string
	// Line and Col count from 1; Col counts characters. 0 when the fault has no place in the text.
	Line, Col int
	// Path is the field, such as static_resources.clusters[0].name; empty for faults of syntax.
	Path string
	// Message is a sentence without a line break.
	Message string

	ordinal int // 0 the file, 1 the overlay: what sorting goes by first
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Col))
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// errorList collects faults.
type errorList struct{ list []*Error }

func (l *errorList) add(e *Error) {
	e.Message = strings.Join(strings.FieldsFunc(e.Message, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	e.Path = oneLine(e.Path)
	l.list = append(l.list, e)
}

// at reports a fault of the field at p.
func (l *errorList) at(p place, format string, args ...any) {
	l.add(&Error{
		File: p.pos.file, Line: p.pos.line, Col: p.pos.col, ordinal: p.pos.ordinal,
		Path: p.path, Message: fmt.Sprintf(format, args...),
	})
}

// join returns the faults in the order of the text, nil when there are none.
func (l *errorList) join() error {
	if len(l.list) == 0 {
		return nil
	}
	slices.SortStableFunc(l.list, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.ordinal, b.ordinal), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	all := make([]error, len(l.list))
	for i, e := range l.list {
		all[i] = e
	}
	return errors.Join(all...)
}

// oneLine quotes s when it holds anything that would break an error line.
func oneLine(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			q := strconv.Quote(s)
			return q[1 : len(q)-1]
		}
	}
	return s
}

// shorten quotes s for a message, cut to a length that fits a line.
func shorten(s string) string {
	const limit = 120
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "..."
	}
	return strconv.Quote(s)
}

// alternatives joins names as "a, b or c".
func alternatives(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
