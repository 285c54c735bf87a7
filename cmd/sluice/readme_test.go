package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link         = regexp.MustCompile(`\[([^\]]+)\]\(([^)#]+)\)`)
	functionName = regexp.MustCompile("^`[A-Za-z]\\w*`$")
)

// Every link leads to a file or folder; one whose text is a name in code leads to the file that
// declares a function with this name.
func TestREADMELinksLeadSomewhere(t *testing.T) {
	functions := 0
	for _, m := range link.FindAllStringSubmatch(readme(t), -1) {
		text, path := m[1], m[2]
		if strings.Contains(path, "://") {
			t.Errorf("%s leads away", path)
			continue
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("[%s]: %v", text, err)
			continue
		}
		if !functionName.MatchString(text) {
			continue
		}
		functions++
		if !declares(t, filepath.Join(root, path), strings.Trim(text, "`")) {
			t.Errorf("%s has no function %s", path, text)
		}
	}
	if functions < 30 {
		t.Errorf("only %d functions are linked", functions)
	}
}

func declares(t *testing.T, path, name string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == name {
			return true
		}
	}
	return false
}

// The Go in the README is in the compiled and executed example, line by line.
func TestREADMEGoIsTheExample(t *testing.T) {
	_, code, found := strings.Cut(readme(t), "```go\n")
	code, _, closed := strings.Cut(code, "```")
	example, err := os.ReadFile(filepath.Join(root, "proxy/example_test.go"))
	if err != nil || !found || !closed {
		t.Fatal(err, found, closed)
	}
	indented := "\t" + strings.ReplaceAll(strings.TrimSuffix(code, "\n"), "\n", "\n\t") + "\n"
	if !strings.Contains(string(example), indented) {
		t.Error("the README's Go differs from proxy/example_test.go")
	}
}

// The make targets the README and the code speak of exist.
func TestREADMETargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`make ([a-z-]+)`).FindAllStringSubmatch(readme(t), -1) {
		if !strings.Contains(string(makefile), "\n"+m[1]+":") {
			t.Errorf("there is no target %s", m[1])
		}
	}
}

// What the README shows of its first command is what the command prints, but for the port.
func TestREADMECommandOutput(t *testing.T) {
	_, shown, found := strings.Cut(readme(t), "$ sluice run --from :8080 --to 127.0.0.1:9000 --log-level warning\n")
	shown, _, end := strings.Cut(shown, "\n\n")
	if !found || !end {
		t.Fatal("the README does not begin with the command")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	cmd := exec.Command("sluice", "run", "--from", ":"+port, "--to", "127.0.0.1:9000", "--log-level", "warning")
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(strings.ReplaceAll("\n"+shown, "\n    ", "\n"), "8080", port)[1:] + "\n"
	poll(t, "its output", func() bool { return strings.Count(out.String(), "\n") >= strings.Count(want, "\n") })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || out.String() != want {
		t.Errorf("%v, printed\n%s\nshown\n%s", err, out.String(), want)
	}
}
