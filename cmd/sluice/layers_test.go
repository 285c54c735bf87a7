package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sluiceproxy/sluice/"

// layers says what each part may import besides the standard library: the parts below it and the
// named modules. The longest matching prefix is the rule of a package.
var layers = map[string][]string{
	"codec":          {"codec"},
	"pool/buf":       {"pool/buf"},
	"pool/obj":       {"pool/obj"},
	"engine":         {"pool/buf", "pool/obj", "engine"},
	"engine/poll":    {"github.com/panjf2000/gnet/v2", "golang.org/x/sys/unix", "engine/sock"},
	"engine/sock":    {"golang.org/x/sys/unix"},
	"engine/wheel":   {},
	"pool":           {"engine", "pool/obj"},
	"proxy":          {"engine", "pool", "codec", "proxy", "-proxy/envoy", "-proxy/admin"},
	"proxy/stats":    {"proxy", "github.com/VictoriaMetrics/metrics", "github.com/valyala/bytebufferpool", "-proxy/envoy"},
	"proxy/cluster":  {"proxy", "codec", "golang.org/x/net/dns/dnsmessage", "github.com/cespare/xxhash/v2", "-proxy/envoy"},
	"proxy/secure":   {"proxy/conf", "proxy/stats", "github.com/fsnotify/fsnotify"},
	"proxy/runtime":  {"proxy/conf", "proxy/stats", "github.com/fsnotify/fsnotify"},
	"proxy/ondemand": {"proxy/cluster", "proxy/conf", "github.com/fsnotify/fsnotify"},
	"proxy/format":   {"proxy", "codec", "pool/buf", "-proxy/envoy"},
	"proxy/accesslog": {
		"proxy", "codec", "pool/buf", "-proxy/envoy",
	},
	"proxy/admin": {"proxy", "engine", "pool", "github.com/VictoriaMetrics/metrics", "-proxy/envoy"},
	"proxy/e2e": {
		"proxy", "engine", "codec", "pool", "bench", "go.uber.org/goleak", "github.com/miekg/dns", "golang.org/x/sys/unix",
		"github.com/apache/thrift", "github.com/redis/go-redis/v9",
	},
	"proxy/envoy": {
		"proxy/conf", "proxy/envoy", "proxy/reason", "proxy/retry", "codec", "google.golang.org/protobuf", "github.com/envoyproxy/go-control-plane/envoy",
		"github.com/cncf/xds", "github.com/envoyproxy/protoc-gen-validate", "go.yaml.in/yaml/v3", "google.golang.org/genproto",
	},
	"bench": {"bench", "engine", "codec", "github.com/HdrHistogram/hdrhistogram-go", "golang.org/x/term", "golang.org/x/sys/unix", "github.com/alecthomas/kong"},
	"cmd": {
		"proxy", "bench", "engine", "codec", "pool", "github.com/alecthomas/kong", "github.com/fsnotify/fsnotify", "golang.org/x/term",
	},
}

func golist(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// rule returns the layer whose prefix is the longest match.
func rule(path string) string {
	best := ""
	for prefix := range layers {
		if under(path, prefix) && len(prefix) > len(best) {
			best = prefix
		}
	}
	return best
}

func TestImportsPointDownOnly(t *testing.T) {
	for _, line := range golist(t, "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...") {
		words := strings.Fields(line)
		pkg, imports := strings.TrimPrefix(words[0], module), words[1:]
		layer := rule(pkg)
		if layer == "" {
			t.Errorf("%s is in no layer", pkg)
			continue
		}
		for _, imp := range imports {
			imp = strings.TrimPrefix(imp, module)
			if !strings.Contains(strings.Split(imp, "/")[0], ".") && !inModule(imp) {
				continue // the standard library
			}
			if !permitted(layers[layer], imp) {
				t.Errorf("%s (layer %s) must not import %s", pkg, layer, imp)
			}
		}
	}
}

func inModule(imp string) bool {
	first := strings.Split(imp, "/")[0]
	return slices.Contains([]string{"codec", "engine", "pool", "proxy", "bench", "cmd"}, first)
}

func permitted(allow []string, imp string) bool {
	ok := false
	for _, a := range allow {
		if no, found := strings.CutPrefix(a, "-"); found {
			if under(imp, no) {
				return false
			}
		} else if under(imp, a) {
			ok = true
		}
	}
	return ok
}

func TestEmbeddingLinksNeitherProtobufNorGRPC(t *testing.T) {
	for _, dep := range golist(t, "-deps", module+"engine", module+"engine/relay", module+"proxy", module+"pool") {
		for _, no := range []string{"google.golang.org/protobuf", "google.golang.org/grpc", "github.com/envoyproxy"} {
			if under(dep, no) {
				t.Errorf("embedding links %s", dep)
			}
		}
	}
}

func TestOnlyTwoPackagesMakeSystemCalls(t *testing.T) {
	for _, line := range golist(t, "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"engine/...", module+"proxy/...", module+"pool/...", module+"codec/...") {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		if slices.Contains(words[1:], "golang.org/x/sys/unix") && pkg != "engine/sock" && pkg != "engine/poll" {
			t.Errorf("%s imports x/sys/unix", pkg)
		}
	}
}
