package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// The tests in this file run the binary itself, to see what the system gives it: memory, descriptors.

// process is a running binary.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *http.Client
	addr   string // of its first listener
	admin  string
	config string
	log    string
}

// buildBinary returns the path of a fresh one.
func buildBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() || raceEnabled {
		t.Skip("builds and loads the binary, without the race detector")
	}
	path := filepath.Join(t.TempDir(), "sluice")
	harness.Run(t, harness.Tool(t, "go"), "build", "-o", path, "github.com/sluiceproxy/sluice/cmd/sluice")
	return path
}

// startProcess runs the binary until the end of the test.
func startProcess(t *testing.T, binary string, top harness.TCPTopology) *process {
	t.Helper()
	return startConfigured(t, binary, max(1, top.Loops), top.YAML)
}

// startConfigured is startProcess with any configuration, whose access log goes where it is told.
func startConfigured(t *testing.T, binary string, loops int, yaml func(log string) string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{
		t: t, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience},
		config: filepath.Join(dir, "sluice.yaml"), log: filepath.Join(dir, "access.log"),
	}
	p.write(yaml)
	address := filepath.Join(dir, "admin")
	p.cmd = exec.Command(binary, "-c", p.config, "--concurrency", fmt.Sprint(loops), "--admin-address-path", address, "--no-watch", "-l", "error")
	var said bytes.Buffer
	p.cmd.Stderr = &said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		if err := p.cmd.Wait(); err != nil || said.Len() > 0 {
			t.Errorf("the proxy ended with %v: %s", err, said.String())
		}
	})
	harness.Eventually(t, "the proxy is live", func() bool {
		b, err := os.ReadFile(address)
		if err != nil || len(b) == 0 {
			return false
		}
		p.admin = string(b)
		ready, err := fetch(p.client, "http://"+p.admin+"/ready")
		return err == nil && strings.HasPrefix(ready, "LIVE")
	})
	listeners, err := fetch(p.client, "http://"+p.admin+"/listeners")
	if err != nil {
		t.Fatal(err)
	}
	_, p.addr, _ = strings.Cut(strings.TrimSpace(listeners), "::")
	return p
}

func (p *process) write(yaml func(log string) string) {
	p.t.Helper()
	const admin = "\nadmin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }\n"
	if err := os.WriteFile(p.config, []byte(yaml(p.log)+admin), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// reload has the process take another configuration, and waits until it has.
func (p *process) reload(top harness.TCPTopology) {
	p.t.Helper()
	before := p.stats()["server.config_update_success"]
	p.write(top.YAML)
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Fatal(err)
	}
	harness.Eventually(p.t, "the configuration to be taken", func() bool { return p.stats()["server.config_update_success"] == before+1 })
}

func (p *process) stats() harness.Stats {
	p.t.Helper()
	body, err := fetch(p.client, "http://"+p.admin+"/stats?format=json")
	if err != nil {
		p.t.Fatal(err)
	}
	var all struct {
		Stats []struct {
			Name  string
			Value int64
		}
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		p.t.Fatalf("%v in %.200s", err, body)
	}
	out := harness.Stats{}
	for _, s := range all.Stats {
		out[s.Name] = s.Value
	}
	return out
}

// want waits until the stats have these values.
func (p *process) want(want harness.Stats) {
	p.t.Helper()
	harness.Eventually(p.t, fmt.Sprintf("%v", want), func() bool {
		have := p.stats()
		for name, v := range want {
			got, ok := have[name]
			if !ok {
				p.t.Fatalf("there is no stat %s", name)
			}
			if got != v {
				return false
			}
		}
		return true
	})
}

// resident returns the process's resident memory in bytes, and how many descriptors it has.
func (p *process) resident() (rss int64, descriptors int) {
	p.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return residentOf(p.t, p.cmd.Process.Pid), len(entries)
}

// cycle is a long content that costs little to make and to check. Its length is no power of two, so
// that a piece gone astray shows.
var cycle = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20-57)
	_, _ = (&harness.Stream{}).Read(b)
	return b
})

// pour writes the cycle's content from one position to another, and counts.
func pour(w io.Writer, from, to int64, sent *atomic.Int64) error {
	c := cycle()
	for from < to {
		at := from % int64(len(c))
		n, err := w.Write(c[at:min(int64(len(c)), at+to-from)])
		from += int64(n)
		sent.Add(int64(n))
		if err != nil {
			return err
		}
	}
	return nil
}

// catch reads it and compares.
func catch(r io.Reader, from, to int64) error {
	c, block := cycle(), make([]byte, 64<<10)
	for from < to {
		at := from % int64(len(c))
		n, err := r.Read(block[:min(int64(len(block)), to-from, int64(len(c))-at)])
		if !bytes.Equal(block[:n], c[at:at+int64(n)]) {
			return fmt.Errorf("bytes %d to %d are not what was sent", from, from+int64(n))
		}
		from += int64(n)
		if err != nil && from < to {
			return fmt.Errorf("after %d bytes of %d: %w", from, to, err)
		}
	}
	return nil
}

// stoppedReaders is a transfer on each of some connections whose receiver stops in between.
type stoppedReaders struct {
	t       *testing.T
	conns   int
	size    int64
	first   int64 // received before the stop
	up      bool
	started atomic.Int64 // receivers that have stopped
	goOn    chan struct{}
	release func() // closes goOn
	sent    atomic.Int64
	ends    chan error // two of each connection
}

// send is the sending end of a connection.
func (s *stoppedReaders) send(c *net.TCPConn) {
	err := pour(c, 0, s.size, &s.sent)
	if err == nil {
		err = c.CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, struct{ io.Reader }{c})
	}
	s.ends <- err
}

// receive is the receiving end.
func (s *stoppedReaders) receive(c *net.TCPConn) {
	err := catch(c, 0, s.first)
	s.started.Add(1)
	<-s.goOn
	if err == nil {
		err = catch(c, s.first, s.size)
	}
	if err == nil {
		var more int64
		if more, err = io.Copy(io.Discard, struct{ io.Reader }{c}); more > 0 {
			err = fmt.Errorf("%d bytes too many", more)
		}
	}
	s.ends <- errors.Join(err, c.CloseWrite())
}

const smallBuffer = 32 << 10

func (s *stoppedReaders) origin() *harness.Raw {
	return harness.NewRaw(s.t, func(p *harness.Peer) {
		first := make([]byte, 1)
		_, _ = p.Read(first)
		if s.conns > 1 {
			_, _ = p.SetReadBuffer(smallBuffer), p.SetWriteBuffer(smallBuffer)
		}
		switch {
		case first[0] == 'w': // warming up
			p.Send("w")
			p.Echo()
		case s.up:
			s.receive(p.TCPConn)
		default:
			s.send(p.TCPConn)
		}
	})
}

// A reader that stops stops the sender, whatever that one has to send; the proxy's memory holds no more
// than its limits allow. When the reader goes on, nothing is missing (TCP-54).
func TestProcessMemoryOfStoppedReaders(t *testing.T) {
	harness.NoLeaks(t)
	binary := buildBinary(t)
	t.Run("all", func(t *testing.T) { // so that NoLeaks waits
		for _, tc := range []struct {
			name        string
			up          bool
			conns       int
			size, first int64
			limit       int64
		}{
			{"1 GiB to the client, spliced", false, 1, 1 << 30, 1 << 20, 1 << 20},
			{"1 GiB to the origin, copied", true, 1, 1 << 30, 1 << 20, 32 << 10},
			{"200 clients, copied", false, 200, 5 << 20, 64 << 10, 32 << 10},
			{"200 origins, spliced", true, 200, 5 << 20, 64 << 10, 64 << 10},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if tc.conns == 1 {
					t.Parallel() // many at once need a good part of the memory that the system has for TCP
				}
				s := &stoppedReaders{t: t, conns: tc.conns, size: tc.size, first: tc.first, up: tc.up, goOn: make(chan struct{}), ends: make(chan error, 2*tc.conns)}
				s.release = sync.OnceFunc(func() { close(s.goOn) })
				s.measure(binary, tc.limit)
			})
		}
	})
}

func (s *stoppedReaders) measure(binary string, limit int64) {
	t := s.t
	o := s.origin()
	t.Cleanup(s.release) // the origin waits for its connections
	limits := fmt.Sprintf("per_connection_buffer_limit_bytes: %d", limit)
	top := harness.TCPTopology{Clusters: to(o), Listener: limits}
	top.Clusters[0].Fields = limits
	p := startProcess(t, binary, top)
	const echoed = 16 << 20
	warm := harness.Dial(t, p.addr).Send("w").WantText("w")
	go func() { _ = pour(warm.Conn, 0, echoed, new(atomic.Int64)) }()
	if err := catch(warm.Reader(), 0, echoed); err != nil {
		t.Fatal(err)
	}
	warm.Close()
	for range 50 { // the garbage of statistics
		p.stats()
	}
	before, _ := p.resident()

	// With small buffers of both ends' own it is the proxy that is stopped.
	dialing := harness.Dialing{}
	if s.conns > 1 {
		dialing = harness.Dialing{SendBuffer: smallBuffer, ReceiveBuffer: smallBuffer}
	}
	var running sync.WaitGroup
	for range s.conns {
		c := dialing.Dial(t, p.addr).Send("x").Conn
		_ = c.SetDeadline(time.Time{})
		running.Go(func() {
			if s.up {
				s.send(c)
			} else {
				s.receive(c)
			}
		})
	}
	stat := onOrigin + "upstream_flow_control_"
	if s.up {
		stat = inTCP + "downstream_flow_control_"
	}
	harness.Eventually(t, "the readers to have stopped, and the proxy with them", func() bool {
		have := p.stats()
		return s.started.Load() == int64(s.conns) && have[stat+"paused_reading_total"]-have[stat+"resumed_reading_total"] == int64(s.conns)
	})
	most := int64(0)
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // the length of the measurement
		rss, _ := p.resident()
		most = max(most, rss)
	}
	if grown, allowed := most-before, 2<<20+int64(s.conns)*limit; grown > allowed {
		t.Errorf("the process grew by %d KiB, the limits allow for %d", grown>>10, allowed>>10)
	} else {
		t.Logf("the process grew by %d KiB of %d", grown>>10, allowed>>10)
	}
	// The rest waits in the four sockets' buffers, or has not left its sender.
	if sent, conns := s.sent.Load(), int64(s.conns); sent > min(conns*96<<20, conns*s.size-1) {
		t.Errorf("%d MiB went although nobody reads", sent>>20)
	}
	s.release()
	for range 2 * s.conns {
		select {
		case err := <-s.ends:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(3 * harness.Patience):
			t.Fatal("the transfers do not end")
		}
	}
	running.Wait()
	have := p.stats()
	if paused, resumed := have[stat+"paused_reading_total"], have[stat+"resumed_reading_total"]; paused != resumed {
		t.Errorf("reading was paused %d times and resumed %d times", paused, resumed)
	}
	p.want(harness.Stats{"server.total_connections": 0, onOrigin + "upstream_cx_active": 0, inTCP + "downstream_cx_tx_bytes_buffered": 0})
}
