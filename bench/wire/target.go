package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Target is a proxy under test. Start runs an instance configured by profile in front of originAddr
// and returns where it listens; stop ends it and may be called once. A target that cannot do what a
// profile asks for returns ErrNoProfile.
type Target struct {
	Name  string
	Start func(profile, originAddr string) (addr string, stop func(), err error)
}

// ErrNoProfile says that a target has no counterpart of a profile.
var ErrNoProfile = errors.New("the target has no such feature")

const startTimeout = 10 * time.Second

// process starts programs that take their whole configuration from one file.
type process struct {
	bin    string
	file   string // name of the configuration file
	args   func(config string) []string
	config func(p *profile, listen, origin, dir string) (text string, ok bool)
}

// start writes the configuration and runs the program in a folder of its own until stop. The port is
// chosen before the program binds it, so a start that lost the port to someone else is repeated.
func (p *process) start(name, originAddr string) (addr string, stop func(), err error) {
	prof := profiles[name]
	if prof == nil {
		return "", nil, fmt.Errorf("no profile %q", name)
	}
	for range 3 {
		addr, stop, err = p.startOnce(prof, originAddr)
		if err == nil || errors.Is(err, ErrNoProfile) {
			break
		}
	}
	return addr, stop, err
}

func (p *process) startOnce(prof *profile, originAddr string) (string, func(), error) {
	dir, err := os.MkdirTemp("", "wire-")
	if err != nil {
		return "", nil, err
	}
	fail := func(err error) (string, func(), error) {
		os.RemoveAll(dir)
		return "", nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return fail(err)
	}
	text, ok := p.config(prof, addr, originAddr, dir)
	if !ok {
		return fail(ErrNoProfile)
	}
	config := filepath.Join(dir, p.file)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fail(err)
	}
	// The program runs in dir, so a relative path would not be found.
	bin, err := exec.LookPath(p.bin)
	if err == nil {
		bin, err = filepath.Abs(bin)
	}
	if err != nil {
		return fail(err)
	}
	cmd := exec.Command(bin, p.args(config)...)
	cmd.Dir = dir
	log := &tail{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	stop := func() {
		cmd.Process.Kill()
		<-exited
		os.RemoveAll(dir)
	}
	if err := waitListening(addr, exited); err != nil {
		stop()
		return "", nil, fmt.Errorf("%s: %w\n%s\n%s", p.bin, err, log, text)
	}
	return addr, stop, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// waitListening polls until addr accepts.
func waitListening(addr string, exited <-chan struct{}) error {
	deadline := time.Now().Add(startTimeout)
	for {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-exited:
			return errors.New("ended at once")
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("does not listen on %s: %w", addr, err)
		}
	}
}

// tail keeps the last bytes a program printed.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - 8192; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// indent puts n spaces before every line of text; empty text stays empty.
func indent(n int, text string) string {
	if text == "" {
		return ""
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad) + "\n"
}

// Fixed is a proxy that is running already with the configuration of one profile.
func Fixed(addr, only string) Target {
	return Target{Name: addr, Start: func(name, _ string) (string, func(), error) {
		if name != only {
			return "", nil, ErrNoProfile
		}
		return addr, func() {}, nil
	}}
}
