package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench/origin"
)

// running is a sluice process.
type running struct {
	cmd    *exec.Cmd
	admin  string
	in     string
	stderr *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startSluice runs testdata/base.yaml in front of an origin in a process of its own.
func startSluice(t *testing.T, flags ...string) *running {
	t.Helper()
	o, err := origin.New(origin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Stop)
	text, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(o.Addr().String())
	config := os.Expand(string(text), func(name string) string {
		return map[string]string{"WORK": dir, "ORIGIN_PORT": port}[name]
	})
	path, addr := filepath.Join(dir, "conf.yaml"), filepath.Join(dir, "admin.addr")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &running{stderr: new(lockedBuffer)}
	p.cmd = exec.Command("sluice", append([]string{"-c", path, "--admin-address-path", addr}, flags...)...)
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill() })
	poll(t, "the admin address", func() bool {
		b, _ := os.ReadFile(addr)
		p.admin = string(b)
		return len(b) > 0
	})
	poll(t, "live", func() bool { return p.page("/ready") == "LIVE\n" })
	_, p.in, _ = strings.Cut(strings.TrimSpace(p.page("/listeners")), "::")
	return p
}

func (p *running) page(path string) string {
	resp, err := http.Get("http://" + p.admin + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (p *running) stat(name string) int {
	n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(p.page("/stats?filter=^"+name+"$"), name+": ")))
	return n
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// users are keep-alive clients of one address. They send one request after the other until they are
// not given a connection; any other failure is counted as lost.
type users struct {
	done   sync.WaitGroup
	served atomic.Int64
	lost   atomic.Int64
	why    sync.Map
}

func startUsers(n int, url string) *users {
	u := new(users)
	for range n {
		u.done.Go(func() {
			c := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer c.CloseIdleConnections()
			for u.request(c, url) {
			}
		})
	}
	return u
}

// drained is what the origin's /drain says of the body "hello": its size and CRC-32.
const drained = "5 3610a686\n"

func (u *users) request(c *http.Client, url string) bool {
	// A body that cannot be read again keeps net/http from retrying by itself on a reused connection.
	resp, err := c.Post(url, "text/plain", io.MultiReader(strings.NewReader("hello")))
	if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
		// Refused, or reset while it waited to be accepted: no request was sent that could be lost.
		return false
	}
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && (resp.StatusCode != 200 || string(body) != drained) {
			err = fmt.Errorf("%d %q", resp.StatusCode, body)
		}
	}
	if err != nil {
		u.lost.Add(1)
		u.why.Store(err.Error(), true)
		return false
	}
	u.served.Add(1)
	return true
}

// OP-2, AMB-26: a deploy loses no request. Clients with keep-alive connections and steady load see
// every request answered, and then refused connections.
func TestSIGTERMUnderLoadLosesNoRequest(t *testing.T) {
	for _, strategy := range []string{"immediate", "gradual"} {
		t.Run(strategy, func(t *testing.T) {
			p := startSluice(t, "--drain-strategy", strategy, "--drain-time-s", "3")
			u := startUsers(16, "http://"+p.in+"/drain")
			poll(t, "load", func() bool { return u.served.Load() > 500 })
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("exit: %v\n%s", err, p.stderr)
			}
			u.done.Wait()
			if n := u.lost.Load(); n > 0 {
				u.why.Range(func(why, _ any) bool { t.Log(why); return true })
				t.Errorf("%d lost, %d served", n, u.served.Load())
			}
		})
	}
}

// Reloading again and again under load drops neither a request nor a connection.
func TestReloadUnderLoadDropsNothing(t *testing.T) {
	p := startSluice(t)
	u := startUsers(8, "http://"+p.in+"/drain")
	poll(t, "load", func() bool { return u.served.Load() > 200 })
	for i := range 10 {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		poll(t, "applied", func() bool { return p.stat("server.config_update_success") >= i+2 })
	}
	if n := p.stat("http.ingress.downstream_cx_destroy"); n != 0 {
		t.Errorf("%d connections ended", n)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	u.done.Wait()
	if n := u.lost.Load(); n > 0 {
		u.why.Range(func(why, _ any) bool { t.Log(why); return true })
		t.Errorf("%d requests lost", n)
	}
}

// Every file of proxy/envoy/testdata/broken through the command: one line on standard error that
// begins with the file and its place, nothing on standard output, exit code 1.
func TestBrokenConfigurationsEndWithOneLine(t *testing.T) {
	files, err := filepath.Glob("../../proxy/envoy/testdata/broken/*")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	t.Setenv("SLUICE_LONG_BODY", strings.Repeat("x", 4097))
	dir := t.TempDir()
	turns := make(chan struct{}, 4)
	var all sync.WaitGroup
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(data), "\n") // the first line is the error the loader must give
		name := filepath.Base(path)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var stdout, stderr strings.Builder
			cmd := exec.CommandContext(ctx, "sluice", "-c", name)
			cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("%s: %v", name, err)
			}
			if line := stderr.String(); stdout.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "sluice: "+name+":") {
				t.Errorf("%s: stdout %q, stderr %q", name, stdout.String(), line)
			}
		})
	}
	all.Wait()
}
