package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const oneCluster = `name: acme
lb_policy: MAGLEV
load_assignment:
  cluster_name: acme
  endpoints:
  - lb_endpoints:
    - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9000 } } }
`

func inResponse(cluster string) string {
	return "version_info: \"7\"\nnonce: a\ntype_url: type.googleapis.com/envoy.config.cluster.v3.Cluster\nresources:\n" +
		"- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  " + strings.ReplaceAll(strings.TrimSuffix(cluster, "\n"), "\n", "\n  ") + "\n"
}

// TestLoadCluster loads the same cluster from each form of file, and from a bootstrap (TCP-30).
func TestLoadCluster(t *testing.T) {
	bootstrap := "static_resources:\n  clusters:\n  - " + strings.ReplaceAll(strings.TrimSuffix(oneCluster, "\n"), "\n", "\n    ")
	r, err := Load(Source{Data: []byte(bootstrap)})
	if err != nil {
		t.Fatal(err)
	}
	want := dump(&conf.Bootstrap{Clusters: r.Conf.Clusters})
	dir := t.TempDir()
	for name, text := range map[string]string{
		"acme.yaml": oneCluster, "response.yml": inResponse(oneCluster), "raw.json": string(r.Conf.Clusters[0].Raw),
		"response.json": `{"versionInfo": "1", "resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", ` + string(r.Conf.Clusters[0].Raw[1:]) + `]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadCluster(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, dump(&conf.Bootstrap{Clusters: []*conf.Cluster{c}})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if string(c.Raw) != string(r.Conf.Clusters[0].Raw) {
			t.Errorf("%s: Raw is %s", name, c.Raw)
		}
	}
}

func TestLoadClusterRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an empty file":           {"", "c.yaml:1:1: the configuration is empty"},
		"a list":                  {"- a\n", "c.yaml:1:1: expected a cluster (a mapping of fields), got a list"},
		"an unknown field":        {"name: a\nnames: b\n", "c.yaml:2:1: names: unknown field; did you mean name?"},
		"an unsupported field":    {"name: a\nlrs_server: {}\n", "c.yaml:2:1: lrs_server: not supported"},
		"a broken constraint":     {"connect_timeout: 1s\n", "c.yaml:1:1: name: must not be empty"},
		"a rule of two fields":    {"name: a\nmaglev_lb_config: {}\n", "c.yaml:2:1: maglev_lb_config: needs lb_policy MAGLEV, not ROUND_ROBIN"},
		"a constraint within":     {inResponse("connect_timeout: 1s\n"), "c.yaml:5:3: resources[0].name: must not be empty"},
		"an unknown field within": {inResponse("name: a\nnames: b\n"), "c.yaml:7:3: resources[0].names: unknown field; did you mean name?"},
		"no resource":             {"resources: []\n", "c.yaml:1:1: resources: expected a list of one cluster"},
		"two resources":           {"nonce: a\nresources: [{}, {}]\n", "c.yaml:2:1: resources: expected a list of one cluster"},
		"a resource of no type":   {"resources:\n- name: a\n", "c.yaml:2:3: resources[0]: \"@type\" is missing; supported here: envoy.config.cluster.v3.Cluster"},
		"another type": {
			"resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n",
			"c.yaml:2:12: resources[0].@type: \"type.googleapis.com/envoy.config.listener.v3.Listener\" is not supported; supported here: envoy.config.cluster.v3.Cluster",
		},
		"a response of another type": {"type_url: a\nresources: [{}]\n", "c.yaml:1:11: type_url: expected type.googleapis.com/envoy.config.cluster.v3.Cluster, got \"a\""},
		"a version that is a number": {"version_info: 7\nresources: [{}]\n", "c.yaml:1:15: version_info: expected a string: YAML reads 7 as a number; put it in quotes"},
		"a nonce that is a list":     {"nonce: []\nresources: [{}]\n", "c.yaml:1:1: nonce: expected a string, got a list"},
		"more of a response":         {"canary: true\nresources: [{}]\n", "c.yaml:1:9: canary: not supported: a response holds version_info, type_url, nonce and resources"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseCluster("c.yaml", []byte(c.text))
			if err == nil {
				t.Fatal("loads")
			}
			if got, _, _ := strings.Cut(err.Error(), "\n"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if _, err := LoadCluster("testdata/none.yaml"); err == nil || err.Error() != "testdata/none.yaml: cannot be read: no such file or directory" {
		t.Errorf("no such file: %v", err)
	}
}

func FuzzLoadCluster(f *testing.F) {
	f.Add([]byte(oneCluster))
	f.Add([]byte(inResponse(oneCluster)))
	f.Add([]byte(inResponse("connect_timeout: 1s\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCluster("f.yaml", data)
		if err != nil {
			checkErrors(t, "f.yaml", data, err)
			return
		}
		again, err := parseCluster("raw.json", c.Raw)
		if err != nil || string(again.Raw) != string(c.Raw) {
			t.Fatalf("printed\n%s\nthen %v", c.Raw, err)
		}
	})
}
