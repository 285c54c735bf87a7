package envoy

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func plainText(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/fields/plain.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLoadReadsTheFile(t *testing.T) {
	r, err := Load(Source{Path: "testdata/fields/plain.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Conf.Listeners[0].FilterChains[0].HTTP.Routes.VirtualHosts[0].Routes[0].Action.Cluster; got != "origin" {
		t.Errorf("the route goes to %q", got)
	}
}

func TestLoadWithoutAReadableConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		src  Source
		want string
	}{
		"nothing at all": {Source{}, "config: there is no configuration: neither a file nor text is given"},
		"no such file":   {Source{Path: "testdata/none.yaml"}, "testdata/none.yaml: cannot be read: no such file or directory"},
		"binary":         {Source{Path: "x.pb"}, "x.pb: protobuf text and binary files are not supported: give the configuration as .yaml or .json"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(c.src); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestJSONAndYAMLGiveTheSame prints a configuration as JSON and loads it under several names.
func TestJSONAndYAMLGiveTheSame(t *testing.T) {
	fromYAML, err := Load(Source{Path: "x.yaml", Data: plainText(t)})
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, fromYAML.Conf.Raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"x.json", "x.conf", ""} {
		r, err := Load(Source{Path: path, Data: indented.Bytes()})
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if got, want := dump(r.Conf), dump(fromYAML.Conf); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", path, got, want)
		}
	}
}

// TestErrorsAreSortedAndAllThere has faults of one stage in three places.
func TestErrorsAreSortedAndAllThere(t *testing.T) {
	_, err := Load(Source{Path: "f.yaml", Data: []byte("nod: {}\nnode:\n  idd: x\nadmin: 3\n")})
	want := "f.yaml:1:1: nod: unknown field; did you mean node?\n" +
		"f.yaml:3:3: node.idd: unknown field; did you mean id?\n" +
		"f.yaml:4:8: admin: expected a mapping (Admin), got the number 3"
	if err == nil || err.Error() != want {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
	var first *Error
	if !errors.As(err, &first) || first.Line != 1 || first.Col != 1 || first.Path != "nod" || first.File != "f.yaml" {
		t.Errorf("the first error is %+v", first)
	}
}

// TestUnknownFieldsAreCounted is --allow-unknown-static-fields.
func TestUnknownFieldsAreCounted(t *testing.T) {
	text := strings.Replace(string(plainText(t)), "stat_prefix: in\n", "stat_prefix: in\n          novelty: { a: 1 }\n", 1) + "other: 3\n"
	if _, err := Load(Source{Data: []byte(text)}); err == nil {
		t.Error("unknown fields load")
	}
	r, err := Load(Source{Data: []byte(text), AllowUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.UnknownFields != 2 {
		t.Errorf("%d unknown fields, want 2", r.UnknownFields)
	}
	if _, err := Load(Source{Data: []byte(text + "tracing: {}\n"), AllowUnknown: true}); err == nil {
		t.Error("a field that is known and not supported loads")
	}
}

// TestOverlayMergesAsProtobufsDo is --config-yaml (operations.md 1).
func TestOverlayMergesAsProtobufsDo(t *testing.T) {
	overlay := `
node: { id: over, locality: { zone: z2 } }
layered_runtime: { layers: [{ name: second, static_layer: { a: 2 } }] }
static_resources: { clusters: [{ name: added }] }
`
	base := "node: { id: base, cluster: c, locality: { region: r, zone: z1 } }\nlayered_runtime: { layers: [{ name: first, static_layer: { a: 1, b: 1 } }] }\n"
	r, err := Load(Source{Path: "f.yaml", Data: append([]byte(base), plainText(t)...), Overlay: overlay})
	if err != nil {
		t.Fatal(err)
	}
	n := r.Conf.Node
	if n.ID != "over" || n.Cluster != "c" || n.Region != "r" || n.Zone != "z2" {
		t.Errorf("node is %+v", n)
	}
	if r.Conf.Runtime["a"] != "2" || r.Conf.Runtime["b"] != "1" {
		t.Errorf("runtime is %v", r.Conf.Runtime)
	}
	if len(r.Conf.Clusters) != 2 || r.Conf.Clusters[1].Name != "added" {
		t.Errorf("clusters are %v", r.Conf.Clusters)
	}
}

func TestOverlayAlone(t *testing.T) {
	r, err := Load(Source{Overlay: `{"node": {"id": "x"}}`})
	if err != nil {
		t.Fatal(err)
	}
	if r.Conf.Node.ID != "x" {
		t.Errorf("node is %+v", r.Conf.Node)
	}
}

// TestOverlayErrorsNameTheTextTheyAreIn merges a second cluster of the same name: the fault lies in
// the overlay, and its path counts the clusters of both.
func TestOverlayErrorsNameTheTextTheyAreIn(t *testing.T) {
	overlay := "node: { id: x }\nstatic_resources:\n  clusters:\n  - name: origin\n"
	_, err := Load(Source{Path: "f.yaml", Data: plainText(t), Overlay: overlay})
	want := `--config-yaml:4:11: static_resources.clusters[1].name: another cluster is called "origin"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load(Source{Path: "f.yaml", Data: []byte("node: { id: 3 }\n"), Overlay: "nodes: {}\n"})
	want = "f.yaml:1:13: node.id: expected a string: YAML reads 3 as a number; put it in quotes\n" +
		"--config-yaml:1:1: nodes: unknown field; did you mean node?"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestRawIsStable compares what change detection compares: the same configuration written in another
// order, with comments and quotes, has the same Raw; a changed one has not.
func TestRawIsStable(t *testing.T) {
	text := string(plainText(t))
	load := func(text string) *Result {
		t.Helper()
		r, err := Load(Source{Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := load(text)
	b := load("# comment\n" + strings.Replace(text, "address: 127.0.0.1, port_value: 8080", `port_value: "8080", address: '127.0.0.1'`, 1))
	if !bytes.Equal(a.Conf.Raw, b.Conf.Raw) || !bytes.Equal(a.Conf.Listeners[0].Raw, b.Conf.Listeners[0].Raw) || !bytes.Equal(a.Conf.Clusters[0].Raw, b.Conf.Clusters[0].Raw) {
		t.Error("the same configuration has another Raw")
	}
	c := load(strings.Replace(text, "8080", "8081", 1))
	if bytes.Equal(a.Conf.Listeners[0].Raw, c.Conf.Listeners[0].Raw) {
		t.Error("another port has the same Raw")
	}
	if !bytes.Equal(a.Conf.Clusters[0].Raw, c.Conf.Clusters[0].Raw) {
		t.Error("the cluster's Raw follows the listener's")
	}
	if !json.Valid(a.Conf.Raw) || bytes.ContainsAny(a.Conf.Raw, "\n\t") {
		t.Errorf("not compact JSON: %s", a.Conf.Raw)
	}
	if !bytes.Contains(a.Conf.Listeners[0].Raw, []byte(`"stat_prefix":"in"`)) {
		t.Errorf("payloads are not written out: %s", a.Conf.Listeners[0].Raw)
	}
}

// TestDigestFollowsFiles changes a body's file and nothing else.
func TestDigestFollowsFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	text := strings.Replace(string(plainText(t)), "routes:\n", "routes:\n              - match: { path: /file }\n                direct_response: { status: 200, body: { filename: "+file+" } }\n", 1)
	load := func(body string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Load(Source{Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return r.Conf.Listeners[0].SourcesDigest
	}
	one, two, again := load("one"), load("two"), load("one")
	if one == "" || one == two || one != again {
		t.Errorf("digests are %q, %q, %q", one, two, again)
	}
}

// TestDirectBodyLimit is RT-62: 4096 bytes pass, 4097 do not, inline or from a file.
func TestDirectBodyLimit(t *testing.T) {
	for _, size := range []int{4096, 4097} {
		body := strings.Repeat("x", size)
		file := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{"{ inline_string: " + body + " }", "{ filename: " + file + " }"} {
			text := strings.Replace(string(plainText(t)), "routes:\n", "routes:\n              - match: { path: /file }\n                direct_response: { status: 200, body: "+source+" }\n", 1)
			_, err := Load(Source{Data: []byte(text)})
			if (err == nil) != (size == 4096) {
				t.Errorf("%d bytes in %.20s: %v", size, source, err)
			}
		}
	}
}

// TestDecoderAgreesWithProtojson decodes each field group and the JSON that it prints with
// protojson: the messages must be equal.
func TestDecoderAgreesWithProtojson(t *testing.T) {
	files, err := filepath.Glob("testdata/fields/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "client_side_weighted") {
			continue // a type that is passed over, and that protojson does not know
		}
		mine := &bootstrapv3.Bootstrap{}
		d := &decoder{errs: &errorList{}}
		d.document(path, 0, data, mine)
		if err := d.errs.join(); err != nil {
			t.Fatal(err)
		}
		tree, _, parseErr := parseYAML(path, data)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		text, err := json.Marshal(plainJSON(tree))
		if err != nil {
			t.Fatal(err)
		}
		theirs := &bootstrapv3.Bootstrap{}
		if err := protojson.Unmarshal(text, theirs); err != nil {
			t.Errorf("%s: protojson refuses what the decoder accepts: %v", path, err)
			continue
		}
		if !proto.Equal(mine, theirs) {
			t.Errorf("%s: decoded differently:\n%v\n%v", path, mine, theirs)
		}
	}
}

// plainJSON is a tree as the values encoding/json knows, YAML's words for true read as Envoy does.
func plainJSON(n *node) any {
	switch n.kind {
	case nullNode:
		return nil
	case listNode:
		list := []any{}
		for _, item := range n.items {
			list = append(list, plainJSON(item))
		}
		return list
	case mappingNode:
		m := map[string]any{}
		for i, k := range n.keys {
			m[k.name] = plainJSON(n.items[i])
		}
		return m
	}
	if n.style == quotedStyle {
		return n.text
	}
	if v, ok := parseBool(n.text); ok {
		return v
	}
	switch n.text { // octal and hexadecimal of the test data
	case "0660":
		return 0o660
	case "0x10":
		return 16
	}
	if decimal(n.text) {
		return json.Number(n.text)
	}
	return n.text
}
