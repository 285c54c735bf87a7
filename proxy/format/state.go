package format

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

// compileMetadata compiles %DYNAMIC_METADATA(namespace:key:...):Z%. Values are text, so a path that
// goes on below a key finds nothing; a namespace by itself is a JSON object of its keys.
func compileMetadata(c command) (op, error) {
	o := op{limit: c.limit}
	var below, found bool
	o.space, o.key, found = strings.Cut(c.argument, ":")
	o.key, _, below = strings.Cut(o.key, ":")
	switch {
	case o.space == "" || found && o.key == "":
		return o, fmt.Errorf("argument %q: want namespace:key", c.argument)
	case below:
		o.eval = appendNothing
	case found:
		o.eval = appendMetadata
	default:
		o.eval, o.bare = appendNamespace, true
	}
	return o, nil
}

func appendMetadata(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	v, ok := i.DynamicMetadata(o.space, o.key)
	return appendPrintable(dst, v[:cut(len(v), o.limit)]), ok
}

// appendPrintable appends text that a client may have chosen, with '!' for control characters: a line
// break would end a log line, or a header field, early.
func appendPrintable[T string | []byte](dst []byte, text T) []byte {
	for n := range len(text) {
		c := text[n]
		if c < ' ' || c == 0x7f {
			c = '!'
		}
		dst = append(dst, c)
	}
	return dst
}

func appendNamespace(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	start, before := len(dst), byte('{')
	if m := i.Metadata; m != nil {
		dst, before = appendMembers(dst, before, m, o.space)
	}
	if i.Conn != nil && i.Conn.Extra != nil {
		dst, before = appendMembers(dst, before, &i.Conn.Extra.Metadata, o.space)
	}
	if before == '{' {
		return dst, false
	}
	dst = append(dst, '}')
	return dst[:start+cut(len(dst)-start, o.limit)], true
}

// appendMembers appends the values of a namespace as members of an object, before the first of which
// stands before; it returns what stands before the next.
func appendMembers(dst []byte, before byte, m *streaminfo.Metadata, space string) ([]byte, byte) {
	for at := 0; ; {
		key, value, ok := m.Next(space, &at)
		if !ok {
			return dst, before
		}
		dst = appendQuoted(append(dst, before), key)
		dst = appendQuoted(append(dst, ':'), value)
		before = ','
	}
}

// compileFilterState compiles %FILTER_STATE(key:form:field):Z%. The form is PLAIN, the text; TYPED,
// the default, the text as a JSON string; or FIELD, one field of an object. Objects are kept as one
// value for each field, under "key:field".
func compileFilterState(c command) (op, error) {
	o := op{limit: c.limit}
	key, form, formed := strings.Cut(c.argument, ":")
	form, name, named := strings.Cut(form, ":")
	o.key = key
	switch {
	case key == "":
		return o, errors.New("the key is missing")
	case named != (form == "FIELD") || named && name == "":
		return o, fmt.Errorf("argument %q: FIELD, and nothing else, is followed by the name of a field", c.argument)
	case form == "FIELD":
		o.key, o.eval = key+":"+name, appendFilterState
	case form == "PLAIN":
		o.eval = appendFilterState
	case form == "TYPED", !formed:
		o.eval, o.bare = appendTypedFilterState, true
	default:
		return o, fmt.Errorf("argument %q: want PLAIN, TYPED or FIELD after the key", c.argument)
	}
	return o, nil
}

func appendFilterState(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	v, ok := i.FilterState(o.key)
	return appendPrintable(dst, v[:cut(len(v), o.limit)]), ok
}

func appendTypedFilterState(o *op, dst []byte, i *streaminfo.Info) ([]byte, bool) {
	v, ok := i.FilterState(o.key)
	if !ok {
		return dst, false
	}
	start := len(dst)
	dst = appendQuoted(dst, v)
	return dst[:start+cut(len(dst)-start, o.limit)], true
}
