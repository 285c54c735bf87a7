package secure

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// maxFileBytes bounds a file; revocation lists can be large.
const maxFileBytes = 32 << 20

// material is what the files of one context hold, read together. Immutable.
type material struct {
	files  map[string]file
	digest [sha256.Size]byte // of all of it, errors too
}

type file struct {
	data []byte
	err  error
}

func readMaterial(paths []string) *material {
	m := &material{files: make(map[string]file, len(paths))}
	h := sha256.New()
	for _, path := range paths {
		f := readFile(path)
		m.files[path] = f
		text := ""
		if f.err != nil {
			text = f.err.Error()
		}
		for _, part := range [][]byte{[]byte(path), f.data, []byte(text)} {
			_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
			h.Write(part)
		}
	}
	h.Sum(m.digest[:0])
	return m
}

func readFile(path string) file {
	f, err := os.Open(path)
	if err != nil {
		return file{err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return file{err: err}
	case !info.Mode().IsRegular():
		return file{err: fmt.Errorf("%s: not a regular file", path)}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFileBytes)
	}
	if err != nil {
		return file{err: err}
	}
	return file{data: data}
}

var errNoSource = errors.New("is missing")

// bytes returns what a data source holds.
func (m *material) bytes(d *conf.DataSource) ([]byte, error) {
	switch {
	case d.File != "":
		f, ok := m.files[d.File]
		if !ok {
			return nil, fmt.Errorf("%s: was not read", d.File)
		}
		return f.data, f.err
	case d.Inline != nil:
		return d.Inline, nil
	}
	return nil, errNoSource
}

// sources are the data sources of what both kinds of context have.
func sources(c *conf.CommonTLS) []*conf.DataSource {
	var out []*conf.DataSource
	for _, t := range c.Certificates {
		out = append(out, &t.Chain, &t.Key, &t.Password, &t.OCSPStaple)
	}
	if v := c.Validation; v != nil {
		out = append(out, &v.TrustedCA, &v.CRL)
	}
	return out
}

// filesOf returns the paths of data sources, each once.
func filesOf(list []*conf.DataSource) []string {
	var out []string
	for _, d := range list {
		if d.File != "" && !slices.Contains(out, d.File) {
			out = append(out, d.File)
		}
	}
	return out
}
