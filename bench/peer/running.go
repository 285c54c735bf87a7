package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a started program pinned to one CPU, with its descendants.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	stderr bytes.Buffer // read only after exited is closed
	pids   []int
}

// startTimeout bounds the wait for a program's port.
const startTimeout = 10 * time.Second

// StartPinned starts command on one CPU and waits until addr accepts connections. The program gets a
// process group of its own, and dies with this one.
func StartPinned(ctx context.Context, cpu int, addr string, env []string, command ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(command[0], command[1:]...), exited: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	p.cmd.Env = append(os.Environ(), env...)
	if err := startOn(p.cmd, cpu); err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.await(ctx, addr); err != nil {
		p.Stop()
		return nil, fmt.Errorf("%s: %w%s", command[0], err, p.lastWords())
	}
	p.Refresh()
	return p, nil
}

// Refresh looks for the program's processes again. A master listens before it forks its worker, so call
// it once the program has answered and before Usage counts.
func (p *Process) Refresh() { p.pids = tree(p.cmd.Process.Pid) }

func (p *Process) await(ctx context.Context, addr string) error {
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w", addr, context.Cause(ctx))
		case <-p.exited:
			return errors.New("ended before it listened")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// lastWords returns the end of what the program wrote to its standard error.
func (p *Process) lastWords() string {
	select {
	case <-p.exited:
	default:
		return ""
	}
	s := strings.TrimSpace(p.stderr.String())
	if s == "" {
		return ""
	}
	return ": " + s[max(0, len(s)-500):]
}

// Stop ends the program and its descendants: first politely, then not.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second):
	}
	killGroup(p.cmd.Process.Pid)
	<-p.exited
}

// Alive reports whether the program still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Usage is what a process tree has used; RSS is what it holds now.
type Usage struct {
	CPU time.Duration // user and system time of all its processes, ended ones too
	RSS int64         // bytes; pages shared between its processes count more than once
}

// Usage asks the kernel about the processes that Refresh found. CPU has a resolution of nanoseconds, but for
// ended children.
func (p *Process) Usage() (u Usage, err error) {
	for i, pid := range p.pids {
		one, err := usageOf(pid, i == 0)
		if err != nil {
			return u, err
		}
		u.CPU += one.CPU
		u.RSS += one.RSS
	}
	return u, nil
}

// CPUTimes are one CPU's times since boot, of all that ran on it.
type CPUTimes struct {
	Total, Idle, Softirq, Steal time.Duration
}

// Busy is the time in which something ran.
func (t *CPUTimes) Busy() time.Duration { return t.Total - t.Idle - t.Steal }

// Running is a proxy at work.
type Running struct {
	*Process
	Peer *Peer
	Spec Spec
	dir  string
}

// Start writes p's configuration for s, starts it on one CPU and waits until it listens. Addresses in s
// that are empty are chosen free.
func Start(ctx context.Context, p *Peer, s Spec, cpu int) (*Running, error) {
	if err := p.Supports(s.Mode); err != nil {
		return nil, err
	}
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	for _, a := range []*string{&s.Listen, &s.Admin} {
		if *a == "" {
			if *a, err = FreeAddr(); err != nil {
				return nil, err
			}
		}
	}
	if s.MaxConns == 0 {
		s.MaxConns = 2000
	}
	dir, err := os.MkdirTemp("", "bench-"+strings.ReplaceAll(p.Name, "/", "-")+"-")
	if err != nil {
		return nil, err
	}
	r := &Running{Peer: p, Spec: s, dir: dir}
	args, err := p.config(dir, s)
	if err == nil {
		r.Process, err = StartPinned(ctx, cpu, s.Listen, p.env, append([]string{path}, args...)...)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return r, nil
}

// Stop ends the proxy and removes its files.
func (r *Running) Stop() {
	r.Process.Stop()
	_ = os.RemoveAll(r.dir)
}

// Mallocs returns how many heap objects the proxy has allocated since it started, as its administration
// port tells at /memory?format=go: a JSON object with Go's runtime.MemStats.Mallocs. ok is false for a
// proxy that does not tell.
func (r *Running) Mallocs(ctx context.Context) (n uint64, ok bool) {
	if r.Peer.Name != "sluice" {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Spec.Admin+"/memory?format=go", nil)
	if err != nil {
		return 0, false
	}
	res, err := direct.Do(req)
	if err != nil {
		return 0, false
	}
	defer func() { _ = res.Body.Close() }()
	var stats struct{ Mallocs *uint64 }
	if res.StatusCode != http.StatusOK || json.NewDecoder(res.Body).Decode(&stats) != nil || stats.Mallocs == nil {
		return 0, false
	}
	return *stats.Mallocs, true
}

// direct is a client that goes where it is told: no proxy from the environment, no kept connections.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

// FreeAddr returns a loopback address with a port that was free a moment ago.
func FreeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
