package wire

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxReason bounds the length of a reason that Update makes up.
const maxReason = 110

// Update rewrites the "peer differs:" lines of the case files in dir by what results say about that
// peer: a line appears for a new difference, with its first finding as reason, and disappears when
// the difference is gone. Existing reasons stay.
func Update(dir, peer string, results []Result) error {
	byFile := map[string][]Result{}
	for _, r := range results {
		if r.Outcome == Fails || r.Outcome == Stale {
			byFile[r.Case.File] = append(byFile[r.Case.File], r)
		}
	}
	for name, list := range byFile {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out := updateText(string(text), peer, list)
		if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// updateText applies results, all of one file, to its text. Later cases first: line numbers above a
// change stay right.
func updateText(text, peer string, list []Result) string {
	lines := strings.Split(text, "\n")
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Result) int { return b.Case.Line - a.Case.Line })
	for _, r := range list {
		first := r.Case.Line // index of the line after "case"
		end := first
		for end < len(lines) && !strings.HasPrefix(lines[end], "case ") {
			end++
		}
		block := slices.DeleteFunc(slices.Clone(lines[first:end]), func(s string) bool {
			return strings.HasPrefix(s, peer+" differs: ")
		})
		if r.Outcome == Fails {
			at := len(block)
			for at > 0 && (block[at-1] == "" || strings.HasPrefix(block[at-1], "#")) {
				at--
			}
			block = slices.Insert(block, at, peer+" differs: "+reasonOf(r.Bad))
		}
		lines = slices.Concat(lines[:first], block, lines[end:])
	}
	return strings.Join(lines, "\n")
}

// reasonOf makes one short line of findings.
func reasonOf(bad []string) string {
	s, _, _ := strings.Cut(bad[0], "\n")
	if len(s) > maxReason {
		s = s[:maxReason] + "..."
	}
	return s
}
