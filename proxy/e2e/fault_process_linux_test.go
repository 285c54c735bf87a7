package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// The tests in this file need a process of the proxy's own: they limit its descriptors, and measure
// its memory and processor time.

// childEnv names the configuration of a child process; see TestChildProcess.
const childEnv = "SLUICE_E2E_CHILD"

// TestChildProcess is not a test but the proxy of the tests below when it is started by them. It
// prints its address, then answers commands: "limit N" leaves N more descriptors, "stats" prints all
// stats as JSON, "flush" writes the access log. It ends with its input.
func TestChildProcess(t *testing.T) {
	path := os.Getenv(childEnv)
	if path == "" {
		return
	}
	yaml, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := harness.StartConf(t, harness.Load(t, string(yaml)), 1, "")
	fmt.Println("address", p.Addr)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch command, rest, _ := strings.Cut(in.Text(), " "); command {
		case "limit":
			open, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			more, _ := strconv.Atoi(rest)
			limit := syscall.Rlimit{Cur: uint64(len(open) - 1 + more), Max: uint64(len(open) - 1 + more)}
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			fmt.Println("limited", limit.Cur)
		case "stats":
			b, _ := json.Marshal(p.Stats())
			fmt.Println(string(b))
		case "flush":
			p.Server.FlushLogs()
			fmt.Println("flushed")
		}
	}
}

// needDescriptors raises the soft limit of this process and its children to the hard one for the test, and
// skips it when that is less than n.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < n {
		t.Skipf("%d descriptors are the hard limit; %d are needed", limit.Max, n)
	}
	raised := limit
	raised.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) })
}

// child is a proxy in a process of its own.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
	log  string
	top  harness.Topology
}

// startChild starts a topology in a process of its own; fields, such as a ServerSocket, are its filter
// chain's.
func startChild(t *testing.T, top harness.Topology, fields ...string) *child {
	t.Helper()
	dir := t.TempDir()
	c := &child{t: t, top: top, log: filepath.Join(dir, "access.log")}
	config := filepath.Join(dir, "config.yaml")
	yaml := top.YAML(c.log)
	if len(fields) > 0 {
		yaml = top.Secured(c.log, fields...)
	}
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(os.Args[0], "-test.run=^TestChildProcess$", "-test.v=false")
	c.cmd.Env = append(os.Environ(), childEnv+"="+config)
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	c.addr = strings.TrimPrefix(c.line(), "address ")
	return c
}

func (c *child) line() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("the proxy's process: %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *child) do(command string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		c.t.Fatal(err)
	}
	return c.line()
}

// resident returns the process's resident memory in bytes.
func (c *child) resident() int64 {
	c.t.Helper()
	return residentOf(c.t, c.cmd.Process.Pid)
}

// residentOf returns the resident memory of a process in bytes.
func residentOf(t testing.TB, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func (c *child) stats() (s harness.Stats) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.do("stats")), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *child) await(name string, ok func(v int64) bool) {
	c.t.Helper()
	harness.Eventually(c.t, name, func() bool {
		v, known := c.stats()[name]
		if !known {
			c.t.Fatalf("there is no stat %q", name)
		}
		return ok(v)
	})
}

// stop ends the process; its own checks (everything came back to rest) are part of its exit status.
func (c *child) stop() {
	for _, cl := range c.top.Clusters {
		for _, o := range cl.Origins {
			o.Stop()
		}
	}
	_ = c.in.Close()
	rest, _ := io.ReadAll(c.out)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the proxy's process: %v\n%s", err, rest)
	}
}

// used returns the processor time of the process so far, and its resident memory in bytes.
func (c *child) used() (cpu time.Duration, rss int64) {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	// After "pid (comm)" the fields count from 3, the state; utime is 14, stime 15, rss 24 in pages.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	number := func(n int) int64 {
		v, err := strconv.ParseInt(f[n-3], 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		return v
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux port of Go
	return time.Duration(number(14)+number(15)) * tick, number(24) * int64(os.Getpagesize())
}

// Out of descriptors the proxy stops accepting, serves who is there, and goes on when some are free
// again. It does not spin meanwhile.
func TestDescriptorLimit(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	c := startChild(t, one(o))
	first := harness.Dial(t, c.addr)
	first.Get("/").Want(200, "hello from a\n")
	c.do("limit 20")
	var waiting []*harness.Client
	for range 40 {
		waiting = append(waiting, harness.Dial(t, c.addr))
	}
	c.await("listener.in.accept_paused_fd_limit", func(v int64) bool { return v > 0 })
	for range 100 {
		first.Get("/").Want(200, "hello from a\n")
	}

	// While the only upstream connection is busy there is no descriptor for another one.
	waiting[0].Send("GET /delay/500 HTTP/1.1\r\nHost: test\r\n\r\n")
	c.await(onOrigin+"upstream_rq_active", func(v int64) bool { return v == 1 })
	first.Get("/full").Want(503, resetBody+"local connection failure")
	waiting[0].Read("GET").Want(200, "delayed 500\n")
	first.Get("/").Want(200, "hello from a\n")

	before, _ := c.used()
	began := time.Now()
	time.Sleep(time.Second) // the length of the measurement
	after, _ := c.used()
	if used, passed := after-before, time.Since(began); used > passed/4 {
		t.Errorf("waiting for descriptors took %v of processor time in %v", used, passed)
	}

	for _, w := range waiting[10:30] {
		w.Reset()
	}
	for _, w := range append(waiting[:10:10], waiting[30:]...) {
		w.Get("/").Want(200, "hello from a\n")
		w.Close()
	}
	first.Get("/").Want(200, "hello from a\n")
	first.Close()
	c.await("server.total_connections", func(v int64) bool { return v == 0 })
	s := c.stats()
	if s[onOrigin+"upstream_cx_connect_fail"] != 1 || s[onOrigin+"upstream_rq_503"] != 1 || s[inHTTP+"downstream_rq_5xx"] != 1 {
		t.Errorf("of failures there are %d connects, %d upstream, %d downstream; want one of each",
			s[onOrigin+"upstream_cx_connect_fail"], s[onOrigin+"upstream_rq_503"], s[inHTTP+"downstream_rq_5xx"])
	}
	c.do("flush")
	const want = "503 UF upstream_reset_before_response_started{local_connection_failure} GET /full\n"
	harness.Eventually(t, "the log line", func() bool {
		log, err := os.ReadFile(c.log)
		return err == nil && strings.Contains(string(log), want)
	})
}

// A gibibyte on its way to a client that does not read costs the proxy next to nothing.
func TestMemoryOfSlowPeers(t *testing.T) {
	limit := int64(4 << 20)
	if raceEnabled {
		limit *= 8 // shadow memory
	}
	for _, tc := range []struct{ name, request, stat string }{
		{"a response in chunks", "GET /chunked/1073741824", onOrigin + "upstream_flow_control_paused_reading_total"},
		{"a response of known length", "GET /bytes/1073741824", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			harness.NoLeaks(t)
			c := startChild(t, one(harness.NewOrigin(t, "a")))
			// Warm: buffers and pipes are there.
			warm := harness.Dial(t, c.addr)
			warm.Get("/bytes/8000000")
			warm.Get("/chunked/8000000")
			warm.Close()
			_, before := c.used()
			slow := harness.Dial(t, c.addr)
			slow.Send(tc.request + " HTTP/1.1\r\nHost: test\r\n\r\n").ReadHead("GET")
			if tc.stat != "" {
				c.await(tc.stat, func(v int64) bool { return v > 0 })
			}
			var after int64
			for range 5 { // a bound that holds over time
				c.stats()
				_, after = c.used()
				time.Sleep(50 * time.Millisecond)
			}
			if grown := after - before; grown > limit {
				t.Errorf("the process grew by %d KiB", grown>>10)
			}
			slow.Reset()
			c.await("server.total_connections", func(v int64) bool { return v == 0 })
		})
	}
}
