package explain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// maxValue is how much of a value a line shows; a difference in the rest shows as "...".
const maxValue = 60

// fields adds a line for every leaf that differs between two messages in Envoy's JSON. skip leaves out
// what is described otherwise, by path; lists are compared position by position.
func (r *Report) fields(depth int, a, b json.RawMessage, skip func(path string) bool) {
	x, y := decode(a), decode(b)
	r.value(depth, "", x, y, skip)
}

// decode reads JSON that this program wrote; numbers stay as they are written.
func decode(raw json.RawMessage) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil // a configuration made in Go has none
	}
	return v
}

func (r *Report) value(depth int, path string, x, y any, skip func(string) bool) {
	if path != "" && skip(path) || reflect.DeepEqual(x, y) {
		return
	}
	switch xv := x.(type) {
	case map[string]any:
		if yv, ok := y.(map[string]any); ok {
			r.members(depth, path, xv, yv, skip)
			return
		}
	case []any:
		if yv, ok := y.([]any); ok {
			for i := range max(len(xv), len(yv)) {
				r.value(depth, fmt.Sprintf("%s[%d]", path, i), element(xv, i), element(yv, i), skip)
			}
			return
		}
	}
	switch {
	case x == nil:
		r.add(depth, Added, "%s: %s", path, show(y))
	case y == nil:
		r.add(depth, Removed, "%s: %s", path, show(x))
	default:
		before, after := show(x), show(y)
		if before == after { // they differ past what is shown
			after = "..."
		}
		r.add(depth, Changed, "%s: %s -> %s", path, before, after)
	}
}

func (r *Report) members(depth int, path string, x, y map[string]any, skip func(string) bool) {
	names := slices.Collect(maps.Keys(x))
	for name := range y {
		if _, ok := x[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		at := name
		if path != "" {
			at = path + "." + name
		}
		r.value(depth, at, x[name], y[name], skip)
	}
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > maxValue {
		return string(text[:maxValue]) + "..."
	}
	return string(text)
}
