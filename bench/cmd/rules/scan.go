package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// test is a test function, or a case of the wire corpus.
type test struct {
	dir  string // of its package, from the root of the repository
	name string
}

// scan finds which tests name which rules: in a test's own name, comments and code, and in the variables, which
// may be its table, and the functions called test... that it uses.
func scan(root string, r *rules) (map[string][]test, error) {
	found := map[string]map[test]bool{}
	note := func(t test, mentioned map[string]bool) {
		for one := range mentioned {
			if found[one] == nil {
				found[one] = map[test]bool{}
			}
			found[one][t] = true
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir():
			return scanPackage(root, path, r, note)
		case filepath.Base(filepath.Dir(path)) == "cases":
			return scanCases(root, path, r, note)
		}
		return nil
	})
	out := map[string][]test{}
	for one, tests := range found {
		out[one] = slices.SortedFunc(maps.Keys(tests), func(a, b test) int {
			return strings.Compare(a.dir+" "+a.name, b.dir+" "+b.name)
		})
	}
	return out, err
}

var isTest = regexp.MustCompile(`^(Test|Fuzz|Example)`)

// declaration is a top-level one: the rules it mentions and the names it uses.
type declaration struct {
	mentions map[string]bool
	uses     []string
}

// scanPackage reads the test files of a folder.
func scanPackage(root, dir string, r *rules, note func(test, map[string]bool)) error {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return err
	}
	all := map[string]*declaration{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		at := func(p token.Pos) int { return set.Position(p).Offset }
		for _, d := range tree.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && (isTest.MatchString(d.Name.Name) || strings.HasPrefix(d.Name.Name, "test")) {
					declare(all, d.Name.Name, d.Doc.Text(), d, string(text[at(d.Pos()):at(d.End())]), r)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
						for _, name := range v.Names {
							declare(all, name.Name, d.Doc.Text()+v.Doc.Text(), v, string(text[at(v.Pos()):at(v.End())]), r)
						}
					}
				}
			}
		}
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	for name := range all {
		if isTest.MatchString(name) {
			note(test{filepath.ToSlash(rel), name}, reach(all, name, map[string]bool{}))
		}
	}
	return nil
}

// declare notes one declaration. A comment before it counts; those within are part of its text.
func declare(all map[string]*declaration, name, doc string, n ast.Node, text string, r *rules) {
	d := &declaration{mentions: r.in(text)}
	maps.Copy(d.mentions, r.in(strings.Join(strings.Fields(doc), " ")))
	ast.Inspect(n, func(n ast.Node) bool {
		if i, ok := n.(*ast.Ident); ok && i.Name != name {
			d.uses = append(d.uses, i.Name)
		}
		return true
	})
	all[name] = d
}

// reach returns what a declaration and those it uses mention.
func reach(all map[string]*declaration, name string, seen map[string]bool) map[string]bool {
	out := map[string]bool{}
	d := all[name]
	if d == nil || seen[name] {
		return out
	}
	seen[name] = true
	maps.Copy(out, d.mentions)
	for _, used := range d.uses {
		if !isTest.MatchString(used) {
			maps.Copy(out, reach(all, used, seen))
		}
	}
	return out
}

var caseLine = regexp.MustCompile(`(?m)^(case|rule) (.+)$`)

// scanCases reads a file of the wire corpus, whose cases name their rules; package wire runs them.
func scanCases(root, path string, r *rules, note func(test, map[string]bool)) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	name := ""
	for _, m := range caseLine.FindAllStringSubmatch(string(text), -1) {
		if m[1] == "case" {
			name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) + "/" + m[2]
		} else {
			note(test{filepath.ToSlash(rel), name}, r.in(m[2]))
		}
	}
	return nil
}
