//go:build linux

package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/bench/origin"
	"github.com/sluiceproxy/sluice/proxy/envoy"
)

// The test binary is the process that Go's reverse proxy runs in.
func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == "reverse-proxy" {
		_, _ = fmt.Fprintln(os.Stderr, ServeReverseProxy(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func all() []*Peer {
	return []*Peer{Nginx(), HAProxy(), H2O(), ReverseProxy(os.Args[0], "reverse-proxy")}
}

func TestPeersAnswerRight(t *testing.T) {
	o, err := origin.New(origin.Options{EchoAddr: "127.0.0.1:0", SourceAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Stop()
	http, echo, source := o.Addr().String(), o.EchoAddr().String(), o.SourceAddr().String()
	id, err := NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	over := func(w Wire) func(context.Context, string) error {
		return func(ctx context.Context, addr string) error { return ProbeOver(ctx, addr, w, id) }
	}
	for _, p := range all() {
		for _, tc := range []struct {
			name  string
			spec  Spec
			probe func(ctx context.Context, addr string) error
		}{
			{"http", Spec{Mode: HTTP, Upstream: http}, Probe},
			{"http, tuned for bulk", Spec{Mode: HTTP, Upstream: http, Bulk: true}, Probe},
			{"http/1 over TLS", Spec{Wire: H1TLS, Upstream: http, Identity: id}, over(H1TLS)},
			{"h2c", Spec{Wire: H2C, Upstream: http}, over(H2C)},
			{"h2 over TLS", Spec{Wire: H2TLS, Upstream: http, Identity: id}, over(H2TLS)},
			{"tcp to an echo", Spec{Mode: TCP, Upstream: echo}, ProbeEcho},
			{"tcp to an echo, tuned for bulk", Spec{Mode: TCP, Upstream: echo, Bulk: true}, ProbeEcho},
			{"tcp to a source, tuned for bulk", Spec{Mode: TCP, Upstream: source, Bulk: true}, ProbeSource},
			{"tcp to an http server", Spec{Mode: TCP, Upstream: http}, Probe},
			{"tcp to an http server, when there is data", Spec{Mode: TCP, Upstream: http, AwaitData: true}, Probe},
		} {
			t.Run(p.Name+"/"+tc.name, func(t *testing.T) {
				skipWithout(t, p, tc.spec.Mode)
				r, err := Start(t.Context(), p, tc.spec, 0)
				if err != nil {
					t.Fatal(err)
				}
				if err := tc.probe(t.Context(), r.Spec.Listen); err != nil {
					t.Error(err)
				}
				r.Refresh()
				if want := map[string]int{"nginx": 2}[p.Name]; len(r.pids) < max(1, want) {
					t.Errorf("processes %v: the worker is missing", r.pids)
				}
				if u, err := r.Usage(); err != nil || u.RSS == 0 {
					t.Errorf("usage %+v (%v)", u, err)
				}
				pids := r.pids
				r.Stop()
				for _, pid := range pids {
					if err := gone(pid); err != nil {
						t.Error(err)
					}
				}
				if _, err := os.Stat(r.dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("its files are left in %s", r.dir)
				}
			})
		}
	}
}

// skipWithout skips the test when p is not installed, and fails it in CI, which installs every peer.
func skipWithout(t *testing.T, p *Peer, m Mode) {
	t.Helper()
	if err := p.Supports(m); err != nil {
		if p.Forwards(m) && os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// TestAwaitDataConnectsLate: of two clients the one that came first says nothing, so the first connection
// upstream is the other's.
func TestAwaitDataConnectsLate(t *testing.T) {
	for _, p := range all() {
		t.Run(p.Name, func(t *testing.T) {
			skipWithout(t, p, TCP)
			upstream, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = upstream.Close() }()
			r, err := Start(t.Context(), p, Spec{Mode: TCP, Upstream: upstream.Addr().String(), AwaitData: true}, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Stop()
			for _, say := range []string{"", "second"} {
				c, err := net.Dial("tcp", r.Spec.Listen)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				_, _ = c.Write([]byte(say))
			}
			for {
				c, err := upstream.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				b := make([]byte, 6)
				n, err := io.ReadFull(c, b)
				if err == io.EOF {
					continue // who looked whether the proxy listens has gone: haproxy connects for it yet
				}
				if string(b) != "second" {
					t.Errorf("upstream reads %q (%v)", b[:n], err)
				}
				return
			}
		})
	}
}

// gone waits for a killed process to leave the process table.
func gone(pid int) error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f, err := statFields(pid); err != nil || f[0] == "Z" {
			return nil
		}
	}
	return fmt.Errorf("process %d is still there", pid)
}

func TestProbeFindsWrongAnswers(t *testing.T) {
	o, err := origin.New(origin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Stop()
	if err := Probe(t.Context(), o.Addr().String()); err != nil {
		t.Errorf("the origin itself: %v", err)
	}
	for name, body := range map[string]string{"wrong body": "hello from someone else\n", "nothing": ""} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		if err := Probe(t.Context(), srv.Listener.Addr().String()); err == nil {
			t.Errorf("%s: accepted", name)
		}
		srv.Close()
	}
}

// A proxy that takes another cipher than the others, or resumes sessions, would not do the same work.
func TestProbeFindsAnotherHandshake(t *testing.T) {
	id, err := NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(id.cert(), id.key())
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"TLS 1.2": {&tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12}, "protocol version"},
		"no h2":   {&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}, "no application protocol"},
	} {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", row.config)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
		}()
		if err := ProbeOver(t.Context(), ln.Addr().String(), H2TLS, id); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
		_ = ln.Close()
	}
}

func TestProbeEchoFindsLostBytes(t *testing.T) {
	s, err := origin.NewScripted(origin.Script{origin.Send(string(bench.Pattern(nil, 99_999))), origin.CloseWrite(), origin.Stall()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := ProbeEcho(t.Context(), s.Addr()); err == nil || !strings.Contains(err.Error(), "99999 bytes back") {
		t.Errorf("error %v", err)
	}
}

func TestProbeSourceFindsWrongBytes(t *testing.T) {
	o, err := origin.New(origin.Options{SourceAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Stop()
	if err := ProbeSource(t.Context(), o.SourceAddr().String()); err != nil {
		t.Errorf("the source itself: %v", err)
	}
	for name, tc := range map[string]struct {
		send string
		want string
	}{
		"ends":     {string(bench.Pattern(nil, 70_000)), "after 70000 bytes"},
		"lost one": {string(bench.Pattern(nil, 21<<20)[1:]), "not the pattern"},
	} {
		s, err := origin.NewScripted(origin.Script{origin.Send(tc.send), origin.CloseWrite()})
		if err != nil {
			t.Fatal(err)
		}
		if err := ProbeSource(t.Context(), s.Addr()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v", name, err)
		}
		s.Stop()
	}
}

var leftover = regexp.MustCompile(`\{[a-z]+\}`)

func TestConfigurationsAreComplete(t *testing.T) {
	id, err := NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Spec{Listen: "127.0.0.1:1001", Upstream: "127.0.0.1:1002", Admin: "127.0.0.1:1003", MaxConns: 100, Identity: id}
	for _, p := range append(all(), Sluice("/nowhere/sluice"), SluicePlain("/nowhere/sluice")) {
		for _, s.Mode = range p.modes {
			for n := range 5 { // the wires, and the first of them once more for bulk
				s.Wire, s.Bulk = Wire(n%4), n == 4
				s.AwaitData = s.Bulk && s.Mode == TCP
				dir := t.TempDir()
				args, err := p.config(dir, s)
				if p.Name == "nginx" && s.Mode == TCP && err != nil {
					continue // its module is not installed
				}
				if err != nil || len(args) == 0 {
					t.Errorf("%s: %v (%v)", p.Name, args, err)
				}
				files, _ := os.ReadDir(dir)
				for _, f := range files {
					text, err := os.ReadFile(dir + "/" + f.Name())
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasSuffix(f.Name(), ".yaml") {
						if _, err := envoy.Load(envoy.Source{Data: text}); err != nil {
							t.Errorf("%s, mode %d: %v", p.Name, s.Mode, err)
						}
					}
					if left := leftover.Find(text); left != nil {
						t.Errorf("%s: %s is not filled in", p.Name, left)
					}
					for _, port := range []string{"1001", "1002"} {
						if !strings.Contains(string(text), port) {
							t.Errorf("%s: port %s is missing", p.Name, port)
						}
					}
				}
			}
		}
	}
}

func TestMissingPeersSayHowToInstallThem(t *testing.T) {
	p := &Peer{Name: "other", Install: "apt-get install other", binary: "no-such-proxy-here"}
	_, err := Start(t.Context(), p, Spec{}, 0)
	if err == nil || !strings.Contains(err.Error(), "apt-get install other") {
		t.Errorf("error %v", err)
	}
	if v := p.Version(); v != "" {
		t.Errorf("version %q", v)
	}
	if H2O().Supports(TCP) == nil || H2O().Forwards(TCP) || !Nginx().Forwards(TCP) {
		t.Error("h2o is said to forward plain TCP, or nginx not to")
	}
}

func TestVersionIn(t *testing.T) {
	for out, want := range map[string]string{
		"nginx version: nginx/1.22.1\n": "1.22.1",
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: long-term": "2.6.12-1+deb12u4",
		"h2o version 2.2.5\nOpenSSL: 3.0":    "2.2.5",
		"unknown/dev/Clean/RELEASE/go1.26.8": "unknown/dev/Clean/RELEASE/go1.26.8",
		"abc/v1.2.0/Clean/RELEASE/go1.26.8":  "1.2.0/Clean/RELEASE/go1.26.8",
		"":                                   "",
	} {
		if got := versionIn(out); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
}

func TestStartPinnedReportsWhyAProgramEnded(t *testing.T) {
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, err = StartPinned(t.Context(), 0, addr, nil, "sh", "-c", "echo no such option >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = StartPinned(ctx, 0, addr, nil, "sleep", "60"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if _, err = StartPinned(t.Context(), 5000, addr, nil, "sleep", "60"); err == nil {
		t.Error("a CPU that is not there was taken")
	}
}

func TestStartPinnedUsesOneCPUAndLeavesThisThreadAlone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	before := allowed(t, os.Getpid())
	p, err := StartPinned(t.Context(), 0, ln.Addr().String(), nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if got := allowed(t, p.cmd.Process.Pid); got != "0" {
		t.Errorf("allowed on CPUs %q, want 0", got)
	}
	if after := allowed(t, os.Getpid()); after != before {
		t.Errorf("this process was allowed on %q and is on %q now", before, after)
	}
}

func allowed(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	t.Fatal("no Cpus_allowed_list")
	return ""
}

func TestUsageCountsTheWholeTree(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	// A child that computes, and a parent that waits: the time is the child's.
	cmd := exec.Command("sh", "-c", "sh -c 'while :; do :; done' & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		killGroup(cmd.Process.Pid)
		_ = cmd.Wait()
	}()
	p := &Process{cmd: cmd}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p.Refresh() // the child may not be there at first
		if u, err := p.Usage(); err == nil && len(p.pids) == 2 && u.CPU >= 50*time.Millisecond {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("pids %v: no CPU time seen", p.pids)
		}
	}
}

func TestTimesOf(t *testing.T) {
	c, err := TimesOf(0)
	if err != nil || c.Total <= 0 || c.Idle > c.Total || c.Softirq > c.Total {
		t.Errorf("%+v (%v)", c, err)
	}
	if _, err := TimesOf(4000); err == nil {
		t.Error("CPU 4000 has times")
	}
}

func TestMallocsIsOptional(t *testing.T) {
	for body, want := range map[string]uint64{`{"Mallocs": 12, "Frees": 3}`: 12, `{"allocated": "1"}`: 0, `not found`: 0} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() == "/memory?format=go" {
				_, _ = w.Write([]byte(body))
			}
		}))
		r := &Running{Peer: Sluice("x"), Spec: Spec{Admin: srv.Listener.Addr().String()}}
		if n, ok := r.Mallocs(t.Context()); n != want || ok != (want > 0) {
			t.Errorf("%s: %d, %t", body, n, ok)
		}
		srv.Close()
	}
}
