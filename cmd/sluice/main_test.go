package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts this test binary into PATH as "sluice", where it is the command itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice": main})
}

// TestScripts runs testdata/script: one scenario a file (UP-64 in tunnel.txtar). Beside testscript's own commands there are
// those of script_test.go; testdata/base.yaml is in every script's directory.
func TestScripts(t *testing.T) {
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(2 * time.Minute),
		Cmds:                scriptCommands,
		Setup: func(e *testscript.Env) error {
			e.Values[clientKey] = newScriptClient(e)
			return os.WriteFile(filepath.Join(e.WorkDir, "base.yaml"), base, 0o644)
		},
	})
}
