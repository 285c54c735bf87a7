package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// What a disk layer may hold.
const (
	maxDepth     = 16
	maxKeys      = 100_000
	maxFileBytes = 64 << 10
)

func diskPath(c *conf.RuntimeDisk, serviceCluster string) string {
	path := filepath.Join(c.SymlinkRoot, c.Subdirectory)
	if c.AppendServiceCluster {
		path = filepath.Join(path, serviceCluster)
	}
	return path
}

// readDisk reads a directory: each file is a value, its path with dots for slashes the key. nil when there
// is no such directory. Names that begin with a dot are left out: mounted volumes keep their own there.
func readDisk(dir string) (map[string]string, error) {
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	out := make(map[string]string)
	return out, readDir(dir, "", 0, out)
}

func readDir(dir, prefix string, depth int, out map[string]string) error {
	if depth >= maxDepth {
		return fmt.Errorf("%s: directories within directories, more than %d", dir, maxDepth)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // links lead to files and directories as well
		if err != nil {
			return err
		}
		key := prefix + e.Name()
		switch {
		case info.IsDir():
			if err := readDir(path, key+".", depth+1, out); err != nil {
				return err
			}
			continue
		case !info.Mode().IsRegular():
			continue // a pipe would block
		case len(out) >= maxKeys:
			return fmt.Errorf("%s: more than %d values", path, maxKeys)
		}
		if out[key], err = readValue(path); err != nil {
			return err
		}
	}
	return nil
}

// readValue reads one file: without lines that begin with #, and without white space around it (OP-31).
func readValue(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", err
	}
	if len(raw) > maxFileBytes {
		return "", fmt.Errorf("%s: longer than %d bytes", path, maxFileBytes)
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return strings.TrimSpace(b.String()), nil
}
