package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var some = []string{"AB-1", "AB-20", "AB-21", "AB-22", "AB-61", "AB-61b", "AB-62", "ABLE-20", "ABLE-21", "ABLE-30", "ABLE-33"}

func TestMentions(t *testing.T) {
	r, err := newRules(some)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"AB-20 of the table":                  "AB-20",
		"see AB-20 to AB-22.":                 "AB-20 AB-21 AB-22",
		"AB-20 to 22, AB-62":                  "AB-20 AB-21 AB-22 AB-62",
		"AB-20, 22 and 62":                    "AB-20 AB-22 AB-62",
		"func TestAB61bNames":                 "AB-61b",
		"func TestAB61byHand":                 "AB-61b",
		"func TestAB61Host":                   "AB-61",
		"TestABLE20CountAndABLE21Most":        "ABLE-20 ABLE-21",
		"TestABLE30And33Both":                 "ABLE-30 ABLE-33",
		"CAB-20, CABLE 20, AB-2, AB-200":      "",
		"AB-61 to AB-62":                      "AB-61 AB-61b AB-62",
		"AB-20 to ABLE-33":                    "AB-20 ABLE-33",
		"an AB-1, which took 20 ms of 22, 62": "AB-1",
	} {
		if got := strings.Join(slices.Sorted(maps.Keys(r.in(text))), " "); got != want {
			t.Errorf("%q mentions %s, want %s", text, got, want)
		}
	}
	if got := strings.Join(definedIn("AB-1 A rule\n see AB-2\nAB-61b Another\nABX\n"), " "); got != "AB-1 AB-61b" {
		t.Errorf("defined: %s", got)
	}
	for _, bad := range [][]string{{"AB"}, {"ab-1"}, {}} {
		if _, err := newRules(bad); err == nil {
			t.Errorf("%q are rules", bad)
		}
	}
}

const source = `package p

// TestOne shows AB-20 to
// AB-22.
func TestOne(t *testing.T) { testMore(t); ask() }

func TestTwo(t *testing.T) { _ = rows }

func TestAB61bSkipped(t *testing.T) {}

// testMore is part of a test (AB-1).
func testMore(t *testing.T) {}

// ask is not: AB-62.
func ask() {}

var rows = []string{"a row of ABLE-30"}
`

func TestTable(t *testing.T) {
	root := t.TempDir()
	results := filepath.Join(t.TempDir(), "results")
	for name, text := range map[string]string{
		filepath.Join(root, "a", "x_test.go"):         source,
		filepath.Join(root, "w", "cases", "some.txt"): "case first\nrule AB-62, RFC 1\ncase second\nrule ABLE-33\n",
		results: `{"Action":"run","Package":"m/a","Test":"TestOne"}
{"Action":"pass","Package":"m/a","Test":"TestOne"}
{"Action":"fail","Package":"m/a","Test":"TestTwo"}
{"Action":"skip","Package":"m/a","Test":"TestAB61bSkipped"}
{"Action":"pass","Package":"m/w","Test":"TestCorpus/some/first"}
{"Action":"output","Package":"m/a","Output":"x"}
`,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	untested = "ABLE-29 there is no such thing\n"
	f := flags{Rules: append(some, "ABLE-29", "SEED-1"), Prefix: []string{"AB", "ABLE"}, Root: root, Results: results}
	err := f.run(&b)
	if err == nil || !strings.Contains(err.Error(), "no test names AB-61, ABLE-20, ABLE-21") {
		t.Errorf("got %v", err)
	}
	for _, line := range []string{
		"| AB-1 | a TestOne | pass |", "| AB-21 | a TestOne | pass |", "| ABLE-30 | a TestTwo | fail |", "| AB-61b | a TestAB61bSkipped | skip |",
		"| AB-62 | w/cases some/first | pass |", "| ABLE-33 | w/cases some/second | - |", "| AB-61 | none | missing |", "| ABLE-29 | none: there is no such thing | left out |",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("there is no line %s in\n%s", line, b.String())
		}
	}
	if strings.Contains(b.String(), "SEED") {
		t.Error("a rule of another prefix is there")
	}
	f.Rules = []string{"AB-20", "ABLE-30", "AB-61b"}
	if err := f.run(&b); err == nil || !strings.Contains(err.Error(), "passed: ABLE-30, AB-61b") {
		t.Errorf("got %v", err)
	}
	f.Rules = []string{"AB-20"}
	if err := f.run(&b); err != nil {
		t.Error(err)
	}
}
