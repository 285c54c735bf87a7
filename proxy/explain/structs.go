package explain

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// structs adds a line for every member that differs between two values of one type of package conf.
func (r *Report) structs(depth int, path string, a, b reflect.Value) {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return
	}
	switch a.Kind() {
	case reflect.Struct:
		if _, ok := a.Interface().(fmt.Stringer); ok {
			break
		}
		for i := range a.NumField() {
			if f := a.Type().Field(i); f.IsExported() && f.Name != "Raw" {
				r.structs(depth, join(path, snake(f.Name)), a.Field(i), b.Field(i))
			}
		}
		return
	case reflect.Pointer:
		if !a.IsNil() && !b.IsNil() {
			r.structs(depth, path, a.Elem(), b.Elem())
			return
		}
	}
	switch {
	case a.IsZero():
		r.add(depth, Added, "%s: %s", path, valueText(b))
	case b.IsZero():
		r.add(depth, Removed, "%s: %s", path, valueText(a))
	default:
		r.add(depth, Changed, "%s: %s -> %s", path, valueText(a), valueText(b))
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// snake turns a name of package conf into one like Envoy's: MaxStreamDuration, max_stream_duration.
func snake(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, c := range letters {
		if unicode.IsUpper(c) && i > 0 {
			after := i+1 < len(letters) && unicode.IsLower(letters[i+1])
			if unicode.IsLower(letters[i-1]) || after {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// valueText shows a value of package conf in one line: structs as their members that are not zero.
func valueText(v reflect.Value) string {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return "none"
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case fmt.Stringer:
		return x.String()
	case []byte:
		return shorten(fmt.Sprintf("%q", x))
	}
	switch v.Kind() {
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	case reflect.Slice:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = valueText(v.Index(i))
		}
		return "[" + shorten(strings.Join(list, ", ")) + "]"
	case reflect.Struct:
		var list []string
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Raw" && !v.Field(i).IsZero() {
				list = append(list, snake(f.Name)+" "+valueText(v.Field(i)))
			}
		}
		return "{" + shorten(strings.Join(list, ", ")) + "}"
	}
	return fmt.Sprint(v.Interface())
}

func shorten(s string) string {
	if len(s) > 2*maxValue {
		return s[:2*maxValue] + "..."
	}
	return s
}

// routeText names a route and says what it matches and where it leads.
func routeText(r *conf.Route) string {
	var b strings.Builder
	b.WriteString("route ")
	if r.Name != "" {
		fmt.Fprintf(&b, "%q ", r.Name)
	}
	b.WriteString("(" + matchText(&r.Match) + ") ")
	switch {
	case r.Action != nil && r.Action.Cluster != "":
		b.WriteString("to cluster " + r.Action.Cluster)
	case r.Action != nil && r.Action.ClusterHeader != "":
		b.WriteString("to the cluster that header " + r.Action.ClusterHeader + " names")
	case r.Action != nil:
		b.WriteString("to one of several clusters")
	case r.Redirect != nil:
		fmt.Fprintf(&b, "with redirect %d", r.Redirect.StatusCode)
	case r.Direct != nil:
		fmt.Fprintf(&b, "with status %d", r.Direct.Status)
	}
	return strings.TrimSpace(b.String())
}

// matchText says what a route matches: its path specifier, then every other condition.
func matchText(m *conf.RouteMatch) string {
	rest := *m
	var b strings.Builder
	switch m.Kind {
	case conf.PathPrefix:
		fmt.Fprintf(&b, "prefix %q", m.Path)
	case conf.PathExact:
		fmt.Fprintf(&b, "path %q", m.Path)
	case conf.PathSeparatedPrefix:
		fmt.Fprintf(&b, "path_separated_prefix %q", m.Path)
	default:
		fmt.Fprintf(&b, "%v %q", m.Kind, m.Path)
	}
	rest.Kind, rest.Path = 0, ""
	if v := reflect.ValueOf(rest); !v.IsZero() {
		text := valueText(v)
		b.WriteString(", " + text[1:len(text)-1])
	}
	return b.String()
}
