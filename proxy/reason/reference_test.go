package reason

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write REASONS.md")

// TestReferenceIsCurrent compares REASONS.md with the table; -rewrite writes it.
func TestReferenceIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# How requests end

Generated from the table of this package (` + "`go test ./proxy/reason -rewrite`" + `); a test keeps it current.

The flag is what ` + "`%RESPONSE_FLAGS%`" + ` prints and the details what ` + "`%RESPONSE_CODE_DETAILS%`" + ` prints. Without a
status the response had begun, or there was nobody left to answer: then the stream is broken off.

| reason | status | flag | details | what happened |
|---|---|---|---|---|
`)
	for r := ViaUpstream; r < numReasons; r++ {
		e := r.Entry()
		status := "-"
		if e.Status != 0 {
			status = fmt.Sprint(e.Status)
		}
		details := "-"
		if e.Details != "" {
			details = "`" + e.Details + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", e.Name, status, e.Flag, details, e.Sentence)
	}
	b.WriteString("\n## Response flags\n\n| flag | long form |\n|---|---|\n")
	for _, n := range flagNames {
		fmt.Fprintf(&b, "| %s | %s |\n", n[0], n[1])
	}
	compare(t, "REASONS.md", b.String())
}

func compare(t *testing.T, path, want string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not current (%v): run this test with -rewrite", path, err)
	}
}

// A row that people look up must have everything the page shows, once.
func TestEveryRowIsComplete(t *testing.T) {
	names := map[string]bool{}
	for r := None; r < numReasons; r++ {
		e := r.Entry()
		if e.Name == "" || !strings.HasSuffix(e.Sentence, ".") || names[e.Name] {
			t.Errorf("%d: %+v", r, e)
		}
		names[e.Name] = true
		if e.Details == "" && r != None && r != SessionEnded { // what ends in order has nothing to explain
			t.Errorf("%s has no details", e.Name)
		}
		if e.Body != "" && e.Status == 0 {
			t.Errorf("%s has a body and no status", e.Name)
		}
		if string(r.Body()) != e.Body || r.String() != e.Name {
			t.Errorf("%s: body or name differ", e.Name)
		}
	}
}

func TestFlagsPrintAndParse(t *testing.T) {
	if got := (UpstreamOverflow | NoHealthyUpstream).String(); got != "UH,UO" {
		t.Errorf("%s", got)
	}
	if got := Flag(0).String(); got != "-" {
		t.Errorf("%s", got)
	}
	for i, n := range flagNames {
		f, ok := ParseFlag(n[0])
		if !ok || f != 1<<i || string(f.Append(nil, true)) != n[1] {
			t.Errorf("%s: %v %s", n[0], ok, f)
		}
	}
	if _, ok := ParseFlag("nope"); ok {
		t.Error("nope is no flag")
	}
}
