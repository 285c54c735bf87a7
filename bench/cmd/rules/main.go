// Command rules prints which tests name which rules of a specification, as a Markdown table:
//
//	go test -json ./... > results.json
//	go run ./bench/cmd/rules --results results.json --prefix RT,ROUTER routing.md router.md RT-200
//
// Arguments are rule ids, and files whose lines begin with them. A test names a rule in its name, its comments
// or its table: TestRT12Scopes, "RT-20 to RT-28". Rules that no test of this version can show stand in
// untested.txt with the reason. It fails when a rule has neither, or a test that names one has not passed.
package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type flags struct {
	Rules   []string `arg:"" help:"Rule ids, and files that define them."`
	Prefix  []string `help:"Only rules whose ids begin so, such as RT,ROUTER."`
	Root    string   `default:"." type:"existingdir" help:"The root of the repository."`
	Results string   `type:"existingfile" help:"The output of go test -json, for the tests' results."`
}

//go:embed untested.txt
var untested string

func main() {
	var f flags
	k := kong.Parse(&f, kong.Name("rules"))
	k.FatalIfErrorf(f.run(os.Stdout))
}

func (f *flags) run(w io.Writer) error {
	var ids []string
	for _, a := range f.Rules {
		if id.MatchString(a) {
			ids = append(ids, a)
			continue
		}
		text, err := os.ReadFile(a)
		if err != nil {
			return err
		}
		ids = append(ids, definedIn(string(text))...)
	}
	r, err := newRules(slices.DeleteFunc(ids, func(one string) bool {
		prefix, _ := split(one)
		return len(f.Prefix) > 0 && !slices.Contains(f.Prefix, prefix)
	}))
	if err != nil {
		return err
	}
	tests, err := scan(f.Root, r)
	if err != nil {
		return err
	}
	var results map[string]string
	if f.Results != "" {
		file, err := os.Open(f.Results)
		if err != nil {
			return err
		}
		defer file.Close()
		if results, err = readResults(file); err != nil {
			return err
		}
	}
	return table(w, r.ids, tests, reasons(untested), results)
}

// reasons reads lines of a rule id and why it has no test.
func reasons(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if one, why, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out[one] = why
		}
	}
	return out
}

// readResults reads go test -json: the outcome by the end of the package's path, a space, and the test.
func readResults(r io.Reader) (map[string]string, error) {
	out := map[string]string{}
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 && line[0] == '{' {
			var e struct{ Action, Package, Test string }
			if err := json.Unmarshal(line, &e); err != nil {
				return nil, err
			}
			if e.Test != "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip") {
				out[e.Package+" "+e.Test] = e.Action
			}
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// outcome returns what became of a test; "-" when it did not run.
func outcome(t test, results map[string]string) string {
	for key, action := range results {
		pkg, name, _ := strings.Cut(key, " ")
		if at, ok := strings.CutSuffix(t.dir, "/cases"); ok { // the corpus is the subtests of its package
			if strings.HasSuffix(pkg, "/"+at) && strings.HasSuffix(name, "/"+t.name) {
				return action
			}
		} else if name == t.name && (t.dir == "." || strings.HasSuffix(pkg, "/"+t.dir)) {
			return action
		}
	}
	return "-"
}

// table prints a line for each rule.
func table(w io.Writer, ids []string, tests map[string][]test, why, results map[string]string) error {
	var missing, failed []string
	fmt.Fprint(w, "| rule | tests | result |\n|---|---|---|\n")
	for _, one := range ids {
		list := tests[one]
		if len(list) == 0 {
			if why[one] == "" {
				missing = append(missing, one)
				fmt.Fprintf(w, "| %s | none | missing |\n", one)
			} else {
				fmt.Fprintf(w, "| %s | none: %s | left out |\n", one, why[one])
			}
			continue
		}
		var names, outcomes []string
		for _, t := range list {
			names = append(names, t.dir+" "+t.name)
			if o := outcome(t, results); !slices.Contains(outcomes, o) {
				outcomes = append(outcomes, o)
			}
		}
		if slices.Contains(outcomes, "fail") || !slices.Contains(outcomes, "pass") && results != nil {
			failed = append(failed, one)
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", one, strings.Join(names, ", "), strings.Join(outcomes, ", "))
	}
	fmt.Fprintf(w, "\n%d rules, %d without a test and a reason\n", len(ids), len(missing))
	switch {
	case len(missing) > 0:
		return fmt.Errorf("no test names %s", strings.Join(missing, ", "))
	case len(failed) > 0:
		return fmt.Errorf("not shown by a test that passed: %s", strings.Join(failed, ", "))
	}
	return nil
}
