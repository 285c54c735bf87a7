package ondemand

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/proxy/cluster"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits until ok, ten seconds at most.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// parse reads files of one line: the cluster's name and its number of hosts.
func parse(path string) (*conf.Cluster, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var name string
	var hosts int
	if _, err := fmt.Sscan(string(data), &name, &hosts); err != nil {
		return nil, errors.New("line 1: not a cluster")
	}
	if name == "nothing" {
		return nil, nil
	}
	c := conf.NewCluster(name)
	for i := range hosts {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		c.Endpoints = append(c.Endpoints, &conf.Endpoint{Address: conf.Address{IP: at}, Weight: 1})
	}
	return c, nil
}

func write(t testing.TB, text string, path ...string) {
	t.Helper()
	// By renaming, as files that are read at any time should be.
	name := filepath.Join(path...)
	if err := os.WriteFile(name+".tmp", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func directory(path string) (*Directory, *journal) {
	j := new(journal)
	return NewDirectory(path, parse, slog.New(slog.NewTextHandler(j, nil))), j
}

func TestLookup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "clusters")
	must(t, os.Mkdir(dir, 0o755))
	for name, text := range map[string]string{
		"a.yaml": "a 1", "b.yml": "b 2", "c.json": "c 3", "d.yml": "d 5", "d.yaml": "d 4", "api.example.com.yaml": "api.example.com 6",
		"e.txt": "e 1", "f": "f 1", "bad.yaml": "bad", "other.yaml": "another 1", "nothing.yaml": "nothing 0",
		".hidden.yaml": ".hidden 1", "../out.yaml": "out 1",
	} {
		write(t, text, dir, name)
	}
	must(t, os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o755))
	must(t, os.Truncate(filepath.Join(dir, "bad.yaml"), maxFileBytes+1))
	write(t, "broken", dir, "broken.yaml")
	d, _ := directory(dir)
	for _, row := range []struct {
		name  string
		hosts int    // 0: missing
		err   string // "" is none
	}{
		{"a", 1, ""},
		{"b", 2, ""},
		{"c", 3, ""},
		{"d", 4, ""}, // .yaml goes first
		{"api.example.com", 6, ""},
		{"e", 0, ""},
		{"f", 0, ""},
		{"absent", 0, ""},
		{"", 0, ""},
		{".hidden", 0, ""},
		{".", 0, ""},
		{"..", 0, ""},
		{"../out", 0, ""},
		{"/etc/passwd", 0, ""},
		{"x/../a", 0, ""},
		{`..\out`, 0, ""},
		{"a\x00", 0, ""},
		{strings.Repeat("n", 300), 0, ""},
		{"broken", 0, "broken.yaml: line 1: not a cluster"},
		{"bad", 0, "bytes, more than"},
		{"other", 0, `other.yaml: holds the cluster "another"`},
		{"nothing", 0, "nothing.yaml: holds no cluster"},
		{"folder", 0, "folder.yaml: not a regular file"},
	} {
		c, err := d.Lookup(context.Background(), row.name)
		if (err == nil) != (row.err == "") || (err != nil && !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%q: error %v, want %q", row.name, err, row.err)
		}
		if got := c != nil; got != (row.hosts > 0) || got && (len(c.Endpoints) != row.hosts || c.Name != row.name) {
			t.Errorf("%q: cluster %+v, want %d hosts", row.name, c, row.hosts)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Lookup(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after the context ended", err)
	}
}

// Clients choose the names, so they must not fill the log.
func TestErrorsAreLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	d, j := directory(dir)
	lookup := func(name string) { _, _ = d.Lookup(context.Background(), name) }
	write(t, "bad", dir, "a.yaml")
	for range 5 {
		lookup("a")
		lookup("absent")
	}
	if j.count("\n") != 1 || j.count("line 1: not a cluster") != 1 {
		t.Errorf("log: %s", j.text.String())
	}
	write(t, "a 1", dir, "a.yaml")
	lookup("a")
	write(t, "bad", dir, "a.yaml")
	lookup("a")
	if j.count("line 1: not a cluster") != 2 {
		t.Errorf("broken anew, log: %s", j.text.String())
	}

	write(t, "", dir, "file")
	d, j = directory(filepath.Join(dir, "file")) // no directory
	for i := range 2 * maxBroken {
		lookup(fmt.Sprint("name", i))
	}
	if j.count("\n") != 1 || len(d.broken) != 1 {
		t.Errorf("%d lines, %d remembered for a directory that is none", j.count("\n"), len(d.broken))
	}

	d, _ = directory(dir)
	for i := range maxBroken + 5 {
		d.note(fmt.Sprint(i), "", errors.New("bad"))
	}
	if len(d.broken) > maxBroken {
		t.Errorf("%d errors are remembered", len(d.broken))
	}
}

// reports collects what a Watch says.
type reports struct {
	mu    sync.Mutex
	names []string
}

func (r *reports) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
}

// take returns each reported name once, sorted, and forgets them.
func (r *reports) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := r.names
	r.names = nil
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

func watched(t *testing.T, d *Directory) *reports {
	t.Helper()
	r := new(reports)
	t.Cleanup(d.Watch(r.add))
	return r
}

func give(t *testing.T, d *Directory, name string) {
	t.Helper()
	if c, err := d.Lookup(context.Background(), name); c == nil || err != nil {
		t.Fatalf("%s: %v, %v", name, c, err)
	}
}

func TestChangesOfGivenFilesAreReported(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		write(t, name+" 1", dir, name+".yaml")
	}
	d, _ := directory(dir)
	r := watched(t, d)
	give(t, d, "a")
	give(t, d, "b")
	step := func(what, want string, change func()) {
		t.Helper()
		change()
		got := ""
		eventually(t, what, func() bool { got = strings.TrimSpace(got + " " + r.take()); return got != "" })
		if got != want {
			t.Errorf("%s: %s is reported, want %s", what, got, want)
		}
		for _, name := range strings.Fields(got) {
			_, _ = d.Lookup(context.Background(), name)
		}
	}
	step("replaced", "a", func() {
		write(t, "c 9", dir, "c.yaml") // was not given
		write(t, "a 2", dir, "a.yaml")
	})
	step("written in place, in steps", "b", func() {
		must(t, os.WriteFile(filepath.Join(dir, "b.yaml"), nil, 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "b.yaml"), []byte("b 2"), 0o644))
	})
	step("broken", "b", func() { write(t, "bad", dir, "b.yaml") })
	step("repaired", "b", func() { write(t, "b 1", dir, "b.yaml") })
	step("removed", "a", func() { must(t, os.Remove(filepath.Join(dir, "a.yaml"))) })
	step("only what is left is reported", "b", func() {
		write(t, "a 1", dir, "a.yaml") // gone, and not given since
		write(t, "b 7", dir, "b.yaml")
	})
}

// swap makes dir's ..data lead to a new folder with these files, as the kubelet does.
func swap(t *testing.T, dir, version string, files map[string]string) {
	t.Helper()
	must(t, os.Mkdir(filepath.Join(dir, version), 0o755))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, version, name), []byte(text), 0o644))
	}
	must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
}

func TestConfigMapsAreFollowed(t *testing.T) {
	dir := t.TempDir()
	swap(t, dir, "..1", map[string]string{"a.yaml": "a 1", "b.yaml": "b 1"})
	for _, name := range []string{"a.yaml", "b.yaml"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	d, _ := directory(dir)
	r := watched(t, d)
	give(t, d, "a")
	swap(t, dir, "..2", map[string]string{"a.yaml": "a 2"}) // the link to b leads nowhere now
	eventually(t, "the swap is reported", func() bool { return strings.Contains(r.take(), "a") })
	if c, err := d.Lookup(context.Background(), "a"); err != nil || len(c.Endpoints) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := d.Lookup(context.Background(), "b"); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestADirectoryMayComeAndGo(t *testing.T) {
	root := t.TempDir()
	dir, link := filepath.Join(root, "one"), filepath.Join(root, "clusters")
	must(t, os.Symlink("one", link))
	d, _ := directory(link)
	r := watched(t, d) // of nothing yet
	if c, err := d.Lookup(context.Background(), "a"); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
	must(t, os.Mkdir(dir, 0o755))
	write(t, "a 1", dir, "a.yaml")
	give(t, d, "a")
	write(t, "a 22", dir, "a.yaml") // before it is found, or after
	eventually(t, "a change in the directory that has come is reported", func() bool { return r.take() == "a" })
	give(t, d, "a")

	must(t, os.RemoveAll(dir))
	eventually(t, "its end is reported", func() bool { return r.take() == "a" })
	if c, err := d.Lookup(context.Background(), "a"); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
	must(t, os.Mkdir(dir, 0o755))
	write(t, "a 3", dir, "a.yaml")
	give(t, d, "a")

	two := filepath.Join(root, "two")
	must(t, os.Mkdir(two, 0o755))
	write(t, "a 4", two, "a.yaml")
	must(t, os.Symlink("two", link+".new"))
	must(t, os.Rename(link+".new", link))
	eventually(t, "that the path leads elsewhere is reported", func() bool { return r.take() == "a" })
	if c, err := d.Lookup(context.Background(), "a"); err != nil || len(c.Endpoints) != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}

// The whole way: a request for a cluster, a file, the cluster manager.
func TestAManagerFollowsADirectory(t *testing.T) { // TCP-30
	dir := t.TempDir()
	write(t, "a 1", dir, "a.yaml")
	d, _ := directory(dir)
	m := cluster.NewManager(cluster.Options{Stats: stats.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(m.Close)
	must(t, m.Apply(nil))
	ask := func(name string) cluster.Outcome {
		answers := make(chan cluster.Outcome, 1)
		m.RequestOnDemand(d, name, 20*time.Second, func(o cluster.Outcome) { answers <- o })
		return <-answers
	}
	hosts := func(name string) int {
		if c := m.Set().Lookup([]byte(name)); c != nil {
			return len(c.Hosts().Hosts)
		}
		return -1
	}
	if got := ask("b"); got != cluster.OnDemandMissing {
		t.Errorf("b: %v", got)
	}
	if got := ask("a"); got != cluster.OnDemandFound || hosts("a") != 1 {
		t.Errorf("a: %v, %d hosts", got, hosts("a"))
	}
	write(t, "a 3", dir, "a.yaml")
	eventually(t, "the change arrives", func() bool { return hosts("a") == 3 })
	write(t, "bad", dir, "a.yaml")
	write(t, "b 2", dir, "b.yaml")
	if got := ask("b"); got != cluster.OnDemandFound || hosts("b") != 2 {
		t.Errorf("b: %v, %d hosts", got, hosts("b"))
	}
	must(t, os.Remove(filepath.Join(dir, "b.yaml")))
	eventually(t, "the removal arrives", func() bool { return hosts("b") == -1 })
	if hosts("a") != 3 {
		t.Errorf("a broken file took its cluster away: %d hosts", hosts("a"))
	}
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	eventually(t, "the removal arrives", func() bool { return hosts("a") == -1 })
}
