package explain

import (
	"reflect"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// shadowedBy returns the first route before routes[i] that takes every request routes[i] would match,
// nil when there is none that this can tell: of regular expressions only equal ones are known to match
// the same.
func shadowedBy(routes []*conf.Route, i int) *conf.Route {
	for _, r := range routes[:i] {
		if covers(&r.Match, &routes[i].Match) {
			return r
		}
	}
	return nil
}

// covers says whether whatever b matches is matched by a too: a's path takes in b's, and every other
// condition of a is one of b's as well.
func covers(a, b *conf.RouteMatch) bool {
	if !coversPath(a, b) {
		return false
	}
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		switch x.Type().Field(i).Name {
		case "Kind", "Path", "CaseInsensitive":
			continue
		}
		if !implied(x.Field(i), y.Field(i)) {
			return false
		}
	}
	return true
}

// implied says whether a condition that holds as b holds as a: a is absent, or the same, or a list each
// of whose elements is one of b's.
func implied(a, b reflect.Value) bool {
	if a.IsZero() || reflect.DeepEqual(a.Interface(), b.Interface()) {
		return true
	}
	if a.Kind() != reflect.Slice {
		return false
	}
	for i := range a.Len() {
		found := false
		for j := range b.Len() {
			found = found || reflect.DeepEqual(a.Index(i).Interface(), b.Index(j).Interface())
		}
		if !found {
			return false
		}
	}
	return true
}

// coversPath compares the path specifiers (RT-41).
func coversPath(a, b *conf.RouteMatch) bool {
	pa, pb := a.Path, b.Path
	if a.Kind == b.Kind && pa == pb && a.CaseInsensitive == b.CaseInsensitive {
		return true
	}
	if b.CaseInsensitive && !a.CaseInsensitive && pa != "/" {
		return false // b also takes spellings that a does not
	}
	if a.CaseInsensitive {
		pa, pb = strings.ToLower(pa), strings.ToLower(pb)
	}
	switch b.Kind {
	case conf.PathPrefix, conf.PathExact, conf.PathSeparatedPrefix:
	default: // what it matches begins with a slash, and more is not known
		return a.Kind == conf.PathPrefix && pa == "/" && b.Path != ""
	}
	switch a.Kind {
	case conf.PathPrefix:
		return strings.HasPrefix(pb, pa)
	case conf.PathExact:
		return b.Kind == conf.PathExact && pa == pb
	case conf.PathSeparatedPrefix:
		inside := pb == pa || strings.HasPrefix(pb, pa+"/")
		return inside && (b.Kind != conf.PathPrefix || pb != pa) // prefix /a also takes /ab
	}
	return false
}
