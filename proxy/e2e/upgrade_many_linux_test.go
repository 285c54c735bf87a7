package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// webSocketsEnv makes TestWebSocketProcess be the origin of TestTenThousandWebSockets.
const webSocketsEnv = "SLUICE_E2E_WEBSOCKETS"

// TestWebSocketProcess is not a test but the origin of the one below, in a process that has enough descriptors for
// it. It prints its address and ends with its input.
func TestWebSocketProcess(t *testing.T) {
	if os.Getenv(webSocketsEnv) == "" {
		return
	}
	fmt.Println("address", webSocketServer(t, nil, overH1, false).Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// webSocketProcess is the origin of one library in a process of its own.
func webSocketProcess(t *testing.T) harness.Origin {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestWebSocketProcess$", "-test.v=false")
	cmd.Env = append(os.Environ(), webSocketsEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	t.Cleanup(func() {
		_ = in.Close()
		rest, _ := io.ReadAll(r)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the origin's process: %v\n%s", err, rest)
		}
	})
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return harness.At(strings.TrimSpace(strings.TrimPrefix(line, "address ")))
}

// webSocketCrowd is many sockets, each of which a few goroutines take their turns with.
type webSocketCrowd struct {
	t     *testing.T
	socks []*gorilla.Conn
}

func (c *webSocketCrowd) each(what string, f func(i int) error) {
	c.t.Helper()
	const workers = 50
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := w; i < len(c.socks); i += workers {
				if err := f(i); err != nil {
					c.t.Errorf("%s, socket %d: %v", what, i, err)
					return
				}
			}
		})
	}
	running.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// open dials: socket i to the proxy i modulo their number.
func (c *webSocketCrowd) open(to []*child) {
	c.t.Helper()
	c.t.Cleanup(func() {
		for _, s := range c.socks {
			if s != nil {
				_ = s.Close()
			}
		}
	})
	d := gorilla.Dialer{HandshakeTimeout: 3 * harness.Patience, ReadBufferSize: 256, WriteBufferSize: 256, WriteBufferPool: new(sync.Pool)}
	c.each("handshake", func(i int) (err error) {
		c.socks[i], _, err = d.Dial("ws://"+to[i%len(to)].addr+"/echo", nil)
		return err
	})
}

// echo sends a message on every socket, and reads the answers when all are sent.
func (c *webSocketCrowd) echo(round int) {
	c.t.Helper()
	message := func(i int) string { return fmt.Sprintf("round %d of socket %d", round, i) }
	c.each("send", func(i int) error {
		_ = c.socks[i].SetWriteDeadline(time.Now().Add(harness.Patience))
		return c.socks[i].WriteMessage(gorilla.TextMessage, []byte(message(i)))
	})
	c.each("receive", func(i int) error {
		_ = c.socks[i].SetReadDeadline(time.Now().Add(3 * harness.Patience))
		_, got, err := c.socks[i].ReadMessage()
		if err == nil && string(got) != message(i) {
			err = fmt.Errorf("%q", got)
		}
		return err
	})
}

// leave closes: by a close frame that is answered, or without a word.
func (c *webSocketCrowd) leave() {
	c.t.Helper()
	c.each("close", func(i int) error {
		s := c.socks[i]
		if i%2 == 0 {
			_ = s.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4003, "over"), time.Now().Add(harness.Patience))
			if _, _, err := s.ReadMessage(); !gorilla.IsCloseError(err, 4003) {
				return fmt.Errorf("after the close: %w", err)
			}
		}
		return s.Close()
	})
}

// UP-19, UP-20: ten thousand WebSockets at once, idle, then with a message each, twice; HTTP/1 on both sides, and HTTP/2
// between two proxies, which is one to an HTTP/2 origin and one for an HTTP/2 client. An idle tunnel costs little, and
// all it cost comes back. Two processes share the HTTP/1 pairs: a tunnel takes two descriptors of a proxy there.
func TestTenThousandWebSockets(t *testing.T) {
	sockets := 10_000
	if raceEnabled {
		sockets = 2000 // the race detector has at most 8128 goroutines, of which the origin needs one a socket
	}
	const others = 500
	needDescriptors(t, uint64(sockets+others))
	manager := webSocketOn + h2Connect + "stream_idle_timeout: 600s"
	breakers := fmt.Sprintf("circuit_breakers: { thresholds: [{ max_connections: %d, max_pending_requests: %d, max_requests: %d }] }", 2*sockets, 2*sockets, 2*sockets)
	proxyOf := func(t *testing.T, o harness.Origin, fields string) *child {
		top := one(o)
		top.Manager, top.Action = manager, "timeout: 0s"
		top.Clusters[0].Fields = strings.TrimSuffix(breakers+"\n"+fields, "\n")
		return startChild(t, top)
	}
	for _, row := range []struct {
		name  string
		start func(t *testing.T, o harness.Origin) (front, all []*child)
	}{
		{"HTTP1 to HTTP1", func(t *testing.T, o harness.Origin) (front, all []*child) {
			two := []*child{proxyOf(t, o, ""), proxyOf(t, o, "")}
			return two, two
		}},
		{"HTTP1 to HTTP2 to HTTP1", func(t *testing.T, o harness.Origin) (front, all []*child) {
			second := proxyOf(t, o, "")
			// Its connections go by themselves, so that both processes come to rest.
			first := proxyOf(t, harness.At(second.addr), h2Cluster+"\n    common_http_protocol_options: { idle_timeout: 1s }")
			return []*child{first}, []*child{first, second}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			front, all := row.start(t, webSocketProcess(t))
			warm := &webSocketCrowd{t: t, socks: make([]*gorilla.Conn, 100)}
			warm.open(front)
			warm.echo(0)
			warm.leave()
			before := make([]int64, len(all))
			for i, p := range all {
				p.await(inHTTP+"downstream_cx_upgrades_active", func(v int64) bool { return v == 0 })
				before[i] = p.resident()
			}

			crowd := &webSocketCrowd{t: t, socks: make([]*gorilla.Conn, sockets)}
			crowd.open(front)
			each := int64(sockets / len(front)) // of one proxy
			for i, p := range all {
				p.await(inHTTP+"downstream_cx_upgrades_active", func(v int64) bool { return v == each })
				took := (p.resident() - before[i]) / each
				t.Logf("proxy %d: %d bytes of resident memory for each of %d idle tunnels", i+1, took, each)
				if took > 16<<10 && !raceEnabled {
					t.Errorf("an idle tunnel takes %d bytes", took)
				}
			}
			crowd.echo(1)
			crowd.echo(2)
			for i, p := range all {
				s := p.stats()
				now := harness.Stats{
					inHTTP + "downstream_cx_upgrades_active": each, inHTTP + "downstream_rq_5xx": 0,
					onOrigin + "upstream_rq_active": each, onOrigin + "upstream_rq_pending_overflow": 0,
				}
				for name, want := range now {
					if s[name] != want {
						t.Errorf("proxy %d: %s is %d, want %d", i+1, name, s[name], want)
					}
				}
			}
			if n := front[0].stats()[onOrigin+"upstream_cx_active"]; len(front) == 1 && n > each/50 {
				t.Errorf("%d HTTP/2 connections for %d tunnels", n, each)
			}
			crowd.leave()
			for _, p := range all {
				p.await(inHTTP+"downstream_cx_upgrades_active", func(v int64) bool { return v == 0 })
				p.await(onOrigin+"upstream_rq_active", func(v int64) bool { return v == 0 })
			}
		})
	}
}
