package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// waveClient is one of the many connections of TestProcessWaves.
type waveClient struct {
	*net.TCPConn
	number, said int
}

// say sends a line of the connection's own and reads it back.
func (c *waveClient) say() error {
	c.said++
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	line := fmt.Sprintf("connection %d, line %d\n", c.number, c.said)
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	got := make([]byte, len(line))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != line {
		return fmt.Errorf("line %d: got %q, %w", c.said, got[:n], err)
	}
	return nil
}

// finish sends a FIN and reads to the other one.
func (c *waveClient) finish() error {
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	if err := c.CloseWrite(); err != nil {
		return err
	}
	rest, err := io.ReadAll(c)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q too much", rest)
	}
	_ = c.Close()
	return err
}

// leave resets the connection, or has the server reset its own.
func (c *waveClient) leave() error {
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	defer c.Close()
	if c.number%2 == 0 {
		return c.SetLinger(0)
	}
	if _, err := io.WriteString(c, "reset\n"); err != nil {
		return err
	}
	rest, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
		return fmt.Errorf("no end, but %q, %w", rest, err)
	}
	return nil
}

// echoLines is an origin with little memory for a connection, that resets when it is told to.
func echoLines(p *harness.Peer) {
	in := bufio.NewReaderSize(p.TCPConn, 64)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if string(line) == "reset\n" {
			p.Reset()
			return
		}
		if _, err := p.Write(line); err != nil {
			return
		}
	}
}

// Five thousand sessions at once, opened and closed in waves, while the configuration changes ten times.
// None loses a byte, those that began before a change included; all that they took comes back.
func TestProcessWaves(t *testing.T) {
	binary := buildBinary(t)
	const waves, each, reloads = 5, 1000, 10
	needDescriptors(t, 2*waves*each+1000)
	harness.NoLeaks(t)

	// Every change moves new sessions to a cluster of another name, with other origins.
	origins := []*harness.Raw{harness.NewRaw(t, echoLines), harness.NewRaw(t, echoLines)}
	topology := func(n int) harness.TCPTopology {
		return harness.TCPTopology{
			Loops: 2, Proxy: fmt.Sprintf("idle_timeout: %ds", 300+n), LogFormat: "%RESPONSE_FLAGS% %BYTES_RECEIVED%",
			Clusters: []harness.Cluster{{
				Name: fmt.Sprintf("origin%d", n%3), Origins: []harness.Origin{origins[n%2]},
				Fields: fmt.Sprintf("connect_timeout: %ds\ncircuit_breakers: { thresholds: [{ max_connections: %d, max_pending_requests: %d }] }", 20+n, 2*waves*each, 2*waves*each),
			}},
		}
	}
	p := startProcess(t, binary, topology(0))
	version := 0
	reload := func() {
		t.Helper()
		version++
		p.reload(topology(version))
	}
	warm := harness.Dial(t, p.addr).Send("warm\n").WantText("warm\n")
	warm.Close()
	p.want(harness.Stats{"server.total_connections": 0})
	_, descriptors := p.resident()

	clients := make([]*waveClient, waves*each)
	t.Cleanup(func() {
		for _, c := range clients {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	during := func(from, to int, what string, f func(i int) error) {
		t.Helper()
		const workers = 50
		var running sync.WaitGroup
		for w := range workers {
			running.Go(func() {
				for i := from + w; i < to; i += workers {
					if err := f(i); err != nil {
						t.Errorf("%s, connection %d: %v", what, i, err)
						return
					}
				}
			})
		}
		if version < reloads {
			reload()
		}
		running.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	say := func(i int) error { return clients[i].say() }
	for w := range waves {
		during(w*each, (w+1)*each, "open", func(i int) error {
			c, err := net.DialTimeout("tcp", p.addr, harness.Patience)
			if err != nil {
				return err
			}
			clients[i] = &waveClient{TCPConn: c.(*net.TCPConn), number: i}
			return clients[i].say()
		})
	}
	p.want(harness.Stats{"server.total_connections": waves * each})
	during(0, waves*each, "all at once", say)
	for w := range waves {
		during(w*each, (w+1)*each, "close", func(i int) error {
			if i%4 < 2 {
				return clients[i].leave()
			}
			return clients[i].finish()
		})
		during((w+1)*each, waves*each, "those that stay", say)
	}
	if version != reloads {
		t.Errorf("%d reloads", version)
	}
	p.want(harness.Stats{
		"server.total_connections": 0, inTCP + "downstream_cx_total": waves*each + 1, inListener + "downstream_cx_active": 0,
		inTCP + "downstream_cx_no_route": 0, inTCP + "upstream_flush_active": 0, fmt.Sprintf("cluster.origin%d.upstream_cx_active", version%3): 0,
	})
	harness.Eventually(t, "the descriptors to come back", func() bool {
		_, now := p.resident()
		return now <= descriptors
	})
	if n := origins[0].Connections() + origins[1].Connections(); n != waves*each+1 {
		t.Errorf("the origins had %d connections, want one for each client", n)
	}
}
