package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// startRedis returns a redis-server that keeps nothing on disk.
func startRedis(t *testing.T) *harness.Daemon {
	t.Helper()
	server, dir := harness.Tool(t, "redis-server"), t.TempDir()
	return harness.StartDaemon(t, func(port string) *exec.Cmd {
		return exec.Command(server, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no")
	})
}

// commandCalls is a line of INFO commandstats.
var commandCalls = regexp.MustCompile(`cmdstat_(\w+):calls=(\d+)`)

// Every command of a benchmark is executed, and answered: redis-benchmark waits for all its replies.
func TestPeerRedisBenchmark(t *testing.T) {
	bench, cli := harness.Tool(t, "redis-benchmark"), harness.Tool(t, "redis-cli")
	harness.NoLeaks(t)
	server := startRedis(t)
	_, direct, _ := net.SplitHostPort(server.Address())
	for _, tc := range []struct{ name, args, listener, proxy string }{
		{"one by one", "-c 50 -d 100", "", ""},
		{"pipelined", "-c 20 -P 16 -d 100", "", ""},
		{"pipelined in large values with tiny buffers", "-c 8 -P 8 -d 20000 -n 4000", "per_connection_buffer_limit_bytes: 1024", ""},
		{"a connection each", "-c 20 -k 0 -n 4000", "", ""},
		{"connecting on data", "-c 20 -P 4", "", onData + early(65536)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := harness.StartTCP(t, harness.TCPTopology{Loops: 2, Clusters: to(harness.At(server.Address())), Listener: tc.listener, Proxy: tc.proxy})
			_, port, _ := net.SplitHostPort(p.Addr)
			harness.Run(t, cli, "-p", direct, "config", "resetstat")
			args := append(strings.Fields("-h 127.0.0.1 -n 20000 -r 1000 -q -t set,get,incr,lpush,mset -p "+port), strings.Fields(tc.args)...)
			out := harness.Run(t, bench, args...)
			if strings.Contains(out, "rror") {
				t.Fatal(out)
			}
			n := "20000"
			if strings.Contains(tc.args, "-n 4000") {
				n = "4000"
			}
			calls := map[string]string{}
			for _, m := range commandCalls.FindAllStringSubmatch(harness.Run(t, cli, "-p", direct, "info", "commandstats"), -1) {
				calls[m[1]] = m[2]
			}
			for _, command := range []string{"set", "get", "incr", "lpush", "mset"} {
				if calls[command] != n {
					t.Errorf("%s was executed %q times, want %s", command, calls[command], n)
				}
			}
			s := p.Stats()
			if cx := s[inTCP+"downstream_cx_total"]; cx == 0 || cx != s[onOrigin+"upstream_cx_total"] {
				t.Errorf("%d connections became %d", cx, s[onOrigin+"upstream_cx_total"])
			}
		})
	}
}

func TestPeerRedisCommands(t *testing.T) {
	cli := harness.Tool(t, "redis-cli")
	harness.NoLeaks(t)
	server := startRedis(t)
	p := harness.StartTCP(t, harness.TCPTopology{Clusters: to(server)})
	_, port, _ := net.SplitHostPort(p.Addr)

	t.Run("a value of 5 MB there and back", func(t *testing.T) {
		value := strings.Repeat("0123456789abcdef\n", 5<<20/17)
		harness.RunWith(t, strings.NewReader(value), cli, "-p", port, "-x", "set", "big")
		if got := harness.Run(t, cli, "-p", port, "--raw", "get", "big"); got != value+"\n" {
			t.Errorf("%d bytes came back of %d", len(got), len(value)+1)
		}
	})
	t.Run("MULTI", func(t *testing.T) {
		const script = "MULTI\nSET a 5\nINCR a\nGET a\nEXEC\nMULTI\nSET a 9\nDISCARD\nGET a\n"
		const want = "OK\nQUEUED\nQUEUED\nQUEUED\nOK\n6\n6\nOK\nQUEUED\nOK\n6\n"
		if got := harness.RunWith(t, strings.NewReader(script), cli, "-p", port); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("SUBSCRIBE", func(t *testing.T) {
		subscriber := harness.StartSession(t, cli, "-p", port, "subscribe", "news")
		subscriber.AwaitLine("subscribe")
		for i := range 100 {
			message := fmt.Sprintf("message-%d", i)
			if got := harness.Run(t, cli, "-p", port, "publish", "news", message); got != "1\n" {
				t.Fatalf("%q subscribers got it", got)
			}
			subscriber.AwaitLine(message)
		}
	})
	t.Run("a thousand commands ahead", func(t *testing.T) {
		var ahead, want strings.Builder
		for i := range 1000 {
			value := bench.Pattern(nil, i)
			fmt.Fprintf(&ahead, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(value), value)
			fmt.Fprintf(&want, "$%d\r\n%s\r\n", len(value), value)
		}
		c := p.Dial()
		sent := make(chan error, 1)
		go func() { sent <- harness.WritePieces(c.Conn, ahead.String(), 4001) }()
		c.WantText(want.String())
		if err := <-sent; err != nil {
			t.Error(err)
		}
		c.Close()
	})
}
