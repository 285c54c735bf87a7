package wire

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// wantCases is the size below which the corpus must not fall.
const wantCases = 500

func corpus(t *testing.T) []*Case {
	t.Helper()
	cases, err := Corpus()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < wantCases {
		t.Fatalf("%d cases, want at least %d", len(cases), wantCases)
	}
	return cases
}

// find returns the path of a program, or ends the test: skipped, or failed where CI promises that
// all of them are there.
func find(t *testing.T, name, hint string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%v (%s)", err, hint)
	}
	t.Skipf("%v (%s)", err, hint)
	return ""
}

// check makes a subtest of each case. strict: unexpected outcomes are failures.
func check(t *testing.T, target Target, opt Options, strict bool) {
	t.Parallel() // most of the time is spent waiting for peers that do not answer
	results := Run(target, corpus(t), opt)
	counts := map[Outcome]int{}
	for _, r := range results {
		counts[r.Outcome]++
		if r.Outcome == NotApplicable {
			continue // counted below; the target has no counterpart of the profile
		}
		t.Run(r.Case.ID, func(t *testing.T) {
			switch {
			case r.Outcome != Fails && r.Outcome != Stale:
			case strict:
				t.Error(r)
			default:
				t.Log(r)
			}
		})
	}
	t.Logf("%s: %d pass, %d differ as listed, %d fail, %d are stale, %d do not apply", target.Name,
		counts[Pass], counts[Differs], counts[Fails], counts[Stale], counts[NotApplicable])
}

func sluiceBinary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SLUICE_BIN"); path != "" {
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return find(t, "../../bin/sluice", "make build, or set SLUICE_BIN")
}

func TestSluice(t *testing.T) {
	check(t, Sluice(sluiceBinary(t)), Options{}, true)
}

// TestSluiceByteByByte: the same must hold when every byte is a segment of its own.
func TestSluiceByteByByte(t *testing.T) {
	check(t, Sluice(sluiceBinary(t)), Options{Cut: 1}, true)
}

// The lists of differences were made with these versions. Another version is run and reported.
const (
	nginxVersion   = "nginx/1.22."
	haproxyVersion = "version 2.6."
)

func TestNginx(t *testing.T) {
	bin := find(t, "nginx", "apt install nginx")
	check(t, Nginx(bin), Options{}, isVersion(t, bin, nginxVersion))
}

func TestHAProxy(t *testing.T) {
	bin := find(t, "haproxy", "apt install haproxy")
	check(t, HAProxy(bin), Options{}, isVersion(t, bin, haproxyVersion))
}

func isVersion(t *testing.T, bin, want string) bool {
	t.Helper()
	out, err := exec.Command(bin, "-v").CombinedOutput()
	if err != nil {
		t.Fatalf("%s -v: %v", bin, err)
	}
	if strings.Contains(string(out), want) {
		return true
	}
	t.Logf("differences are listed for %q, this is %s", want, out)
	return false
}

func TestSluiceConfigIsYAMLForEveryProfile(t *testing.T) {
	for _, name := range Profiles() {
		t.Run(name, func(t *testing.T) {
			text, ok := sluiceConfig(profiles[name], "127.0.0.1:1", "127.0.0.1:2", "")
			if !ok {
				t.Fatal("sluice knows every profile")
			}
			var doc struct {
				StaticResources struct {
					Listeners []map[string]any
					Clusters  []map[string]any
				} `yaml:"static_resources"`
			}
			if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			if len(doc.StaticResources.Listeners) != 1 || len(doc.StaticResources.Clusters) != 1 {
				t.Errorf("want one listener and one cluster in\n%s", text)
			}
		})
	}
}

func TestCorpusSaysWhereRulesComeFrom(t *testing.T) {
	for _, c := range corpus(t) {
		if !strings.HasSuffix(c.Says, ".") {
			t.Errorf("%s: %q is no sentence", c.ID, c.Says)
		}
		if c.Profile == "default" {
			continue
		}
		// A profile with a preamble needs the PROXY line on the case's own connection.
		want := profiles[c.Profile].preamble != ""
		if got := strings.HasPrefix(string(c.Client[0].Bytes), "PROXY "); got != want {
			t.Errorf("%s: PROXY line is %v, profile %s wants %v", c.ID, got, c.Profile, want)
		}
	}
}
