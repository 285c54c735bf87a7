package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// scoped is a topology whose route_config is replaced by scopes.
func scoped(t *testing.T, scopes string) *harness.Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	top := harness.Topology{Manager: "use_remote_address: true"}
	yaml := top.YAML(log)
	from, to := strings.Index(yaml, "          route_config:"), strings.Index(yaml, "\n  clusters:")
	if from < 0 || to < from {
		t.Fatal(yaml)
	}
	var b strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(scopes, "\n")) {
		b.WriteString("          " + line)
	}
	return harness.StartConf(t, harness.Load(t, yaml[:from]+b.String()+yaml[to:]), 1, log)
}

func scope(name, keys, fields string) string {
	return "    - { name: " + name + ", key: { fragments: [" + keys + "] }, route_configuration: { name: " + name + ", " + fields +
		"virtual_hosts: [{ name: all, domains: [\"*\"], routes: [" + direct("prefix: /", name) + "] }] } }\n"
}

// RT-10 to RT-16: the worked case, a key of two fragments, and what happens without a scope.
func TestRT13ScopedRoutes(t *testing.T) {
	harness.NoLeaks(t)
	p := scoped(t, `
scoped_routes:
  name: s
  scope_key_builder:
    fragments:
    - header_value_extractor: { name: Addr, element_separator: ";", element: { key: x-foo-key, separator: "=" } }
    - header_value_extractor: { name: x-zone, element_separator: ",", index: 1 }
  scoped_route_configurations_list:
    scoped_route_configurations:
`+scope("first", "{ string_key: 127.0.0.1 }, { string_key: b }", "internal_only_headers: [x-inside], ")+
		scope("second", "{ string_key: 127.0.0.1 }, { string_key: c }", "")+
		scope("short", "{ string_key: 127.0.0.1 }", "")) // RT-14: never matches
	for _, row := range []struct {
		want   string
		fields []string
	}{
		{"first", []string{"addr: foo=1;x-foo-key=127.0.0.1;x-bar-key=1.1.1.1", "X-Zone: a,b"}},
		{"second", []string{"Addr: ;;x-foo-key=127.0.0.1", "x-zone: a,c,d"}},
		{"first", []string{"addr: x-foo-key=127.0.0.1", "addr: x-foo-key=1.1.1.1", "x-zone: a,b"}}, // AMB-14
		{"-", []string{"addr: x-foo-key=127.0.0.1;x-foo-key=1", "x-zone: a,d"}},
		{"-", []string{"addr: x-foo-key=127.0.0.2", "x-zone: a,b"}},
		{"-", []string{"addr: x-foo-key", "x-zone: a,b"}}, // an element without its separator: empty value
		{"-", []string{"addr: x-foo-key=127.0.0.1", "x-zone: b"}},
		{"-", []string{"x-zone: a,b"}},
	} {
		wantRouted(t, p, "/", row.want, row.fields...)
	}
	p.WantStats(harness.Stats{"http.in.no_route": 5})
	if lines := p.AwaitLines(8); lines[7] != "404 NR route_not_found GET /" { // RT-15
		t.Errorf("log %q", lines)
	}
}

// RT-12: a fragment that is a whole value, one of several, and the value of an element's key.
func TestRT12HowFragmentsAreTaken(t *testing.T) {
	harness.NoLeaks(t)
	p := scoped(t, `
scoped_routes:
  name: s
  scope_key_builder:
    fragments:
    - header_value_extractor: { name: X-Whole, index: 0 }
    - header_value_extractor: { name: x-list, element_separator: ";", index: 2 }
    - header_value_extractor: { name: x-map, element_separator: ",", element: { key: k, separator: ":" } }
  scoped_route_configurations_list:
    scoped_route_configurations:
`+scope("values", "{ string_key: \"a;b\" }, { string_key: c }, { string_key: \"v:w\" }", "")+
		scope("empty", "{ string_key: \"a;b\" }, { string_key: \"\" }, { string_key: \"\" }", ""))
	for _, row := range []struct{ want, whole, list, pairs string }{
		{"values", "a;b", "x;y;c", "j:1,k:v:w,k:z"},
		{"values", "a;b", "x;y;c;d", ",,k:v:w"},
		{"-", "a;b", "x;c", "k:v:w"},        // out of range
		{"-", "a", "x;y;c", "k:v:w"},        // the whole value counts
		{"-", "a;b", "x;y;c", "K:v:w"},      // keys are told apart by case
		{"-", "a;b", "x;y;C", "k:v:w"},      // and values
		{"empty", "a;b", "x;;", "k"},        // a key alone has an empty value
		{"empty", "a;b", "x;;;z", "k:,k:v"}, // the first one counts
		{"-", "a;b", "x;;", "j"},            // no such key
		{"-", "", "x;y;c", "k:v:w"},         // an empty value is none of these
	} {
		wantRouted(t, p, "/", row.want, "x-whole: "+row.whole, "X-List: "+row.list, "x-map: "+row.pairs)
	}
}
