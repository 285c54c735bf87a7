package wire

import (
	"fmt"
	"io"
	"strings"
)

// Unexpected returns the results that want somebody to look: Fails and Stale.
func Unexpected(results []Result) []Result {
	var out []Result
	for _, r := range results {
		if r.Outcome == Fails || r.Outcome == Stale {
			out = append(out, r)
		}
	}
	return out
}

// WriteReport prints unexpected results in full (all differences when verbose) and a table of
// outcomes by family.
func WriteReport(w io.Writer, target string, results []Result, verbose bool) {
	for _, r := range results {
		if r.Outcome == Fails || r.Outcome == Stale || verbose && r.Outcome == Differs {
			fmt.Fprintf(w, "%s\n", r)
		}
	}
	type row [NotApplicable + 1]int
	var families []string
	rows := map[string]*row{}
	total := &row{}
	for _, r := range results {
		family, _, _ := strings.Cut(r.Case.ID, "/")
		if rows[family] == nil {
			rows[family] = &row{}
			families = append(families, family)
		}
		rows[family][r.Outcome]++
		total[r.Outcome]++
	}
	fmt.Fprintf(w, "%-20s %6s %8s %6s %6s %6s\n", target, Pass, Differs, Fails, Stale, NotApplicable)
	line := func(name string, r *row) {
		fmt.Fprintf(w, "%-20s %6d %8d %6d %6d %6d\n", name, r[Pass], r[Differs], r[Fails], r[Stale], r[NotApplicable])
	}
	for _, name := range families {
		line(name, rows[name])
	}
	line("all", total)
}

// String shows a result with its case.
func (r Result) String() string {
	var b strings.Builder
	c := r.Case
	fmt.Fprintf(&b, "%s %s (%s:%d, profile %s)\n    %s [%s]", r.Outcome, c.ID, c.File, c.Line, c.Profile, c.Says, c.Rule)
	for _, s := range r.Bad {
		b.WriteString("\n    " + s)
	}
	return b.String()
}
