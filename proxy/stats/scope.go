package stats

import (
	"fmt"
	"reflect"
	"strings"
)

// register fills in the fields of the struct that scope points to: each is registered under prefix
// and the name in its stat tag. "name,ms" gives a histogram its unit; in a [5]Counter "%d" stands
// for 1 to 5; a name that begins with '.' is a full name without the dot. Cold.
func register(r *Registry, prefix string, scope any) {
	v := reflect.ValueOf(scope).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("stat")
		name, unit, _ := strings.Cut(tag, ",")
		full := prefix + name
		if name[0] == '.' {
			full = name[1:]
		}
		switch f := v.Field(i).Addr().Interface().(type) {
		case *Counter:
			*f = r.Counter(full)
		case *[5]Counter:
			for class := range f {
				f[class] = r.Counter(fmt.Sprintf(full, class+1))
			}
		case *Gauge:
			*f = r.Gauge(full)
		case *Histogram:
			*f = r.Histogram(full, unitOf(unit))
		case **ColdCounter:
			*f = r.ColdCounter(full)
		case **ColdGauge:
			*f = r.ColdGauge(full)
		case **ColdHistogram:
			*f = r.ColdHistogram(full, unitOf(unit))
		case **Text:
			*f = r.Text(full)
		default:
			panic(fmt.Sprintf("stats: %s.%s cannot be registered", v.Type(), v.Type().Field(i).Name))
		}
	}
}

func unitOf(text string) Unit {
	switch text {
	case "ms":
		return UnitMilliseconds
	case "bytes":
		return UnitBytes
	}
	return UnitNone
}

// Clean makes text fit to be a part of a stat name: an address reads 127.0.0.1_80, [__1]_80 (OP-13).
func Clean(text string) string { return strings.ReplaceAll(text, ":", "_") }
