package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
	"github.com/sluiceproxy/sluice/proxy/reason"
)

const inGeneric = "generic_proxy.in."

// Every command of a benchmark is executed once and answered, in all ways a generic proxy can send it.
func TestGenericRedisBenchmark(t *testing.T) {
	bench, cli := harness.Tool(t, "redis-benchmark"), harness.Tool(t, "redis-cli")
	harness.NoLeaks(t)
	for _, tc := range []struct {
		name, args, fields, listener string
		bind                         bool
	}{
		{"a connection for each request", "-c 20", "", "", false},
		{"the same, pipelined by the client", "-c 10 -P 16", "", "", false},
		{"bound, one by one", "-c 20", "", "", true},
		{"bound, one by one, pipelined by the client", "-c 10 -P 16", "", "", true},
		{"bound, pipelined", "-c 20 -P 16", "pipelining: true", "", true},
		{"bound, pipelined, in large values with tiny buffers", "-c 8 -P 8 -d 20000 -n 2000", "pipelining: true", "per_connection_buffer_limit_bytes: 1024", true},
		{"large values with tiny buffers", "-c 8 -P 8 -d 20000 -n 2000", "", "per_connection_buffer_limit_bytes: 1024", false},
		{"bound, in a pipeline longer than may be under way", "-c 2 -P 1000", "pipelining: true", "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := startRedis(t)
			_, direct, _ := net.SplitHostPort(server.Address())
			p := harness.StartGeneric(t, harness.GenericTopology{
				Loops: 2, Codec: "redis", CodecFields: tc.fields, Bind: tc.bind, Clusters: to(server), Listener: tc.listener,
			})
			_, port, _ := net.SplitHostPort(p.Addr)
			harness.Run(t, cli, "-p", direct, "config", "resetstat")
			args := append(strings.Fields("-h 127.0.0.1 -n 10000 -r 1000 -q -t set,get,incr,lpush,mset -p "+port), strings.Fields(tc.args)...)
			if out := harness.Run(t, bench, args...); strings.Contains(out, "rror") {
				t.Fatal(out)
			}
			n, total := "10000", int64(50000)
			if strings.Contains(tc.args, "-n 2000") {
				n, total = "2000", 10000
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
			p.WantQuiet()
			s := p.Stats()
			if got := s[inGeneric+"downstream_rq_total"]; got < total || got > total+20 || s[inGeneric+"downstream_rq_error"] != 0 || s[inGeneric+"downstream_rq_local"] != 0 {
				t.Errorf("%d requests, %d failed, %d answered here", got, s[inGeneric+"downstream_rq_error"], s[inGeneric+"downstream_rq_local"])
			}
			if got := s[inGeneric+"downstream_rq_code.0"]; got != s[inGeneric+"downstream_rq_total"] {
				t.Errorf("%d with code 0 of %d", got, s[inGeneric+"downstream_rq_total"])
			}
			if strings.Contains(tc.name, "longer than") && s[inGeneric+"downstream_rq_queue_full"] == 0 {
				t.Error("the queue was never full")
			}
		})
	}
}

func TestGenericRedisCommands(t *testing.T) {
	cli := harness.Tool(t, "redis-cli")
	harness.NoLeaks(t)
	server := startRedis(t)
	for _, fields := range []string{"", "pipelining: true"} {
		p := harness.StartGeneric(t, harness.GenericTopology{Codec: "redis", CodecFields: fields, Bind: true, Clusters: to(harness.At(server.Address())), Action: "timeout: 0s"})
		_, port, _ := net.SplitHostPort(p.Addr)

		t.Run("a value of 5 MB there and back "+fields, func(t *testing.T) {
			value := strings.Repeat("0123456789abcdef\n", 5<<20/17)
			harness.RunWith(t, strings.NewReader(value), cli, "-p", port, "-x", "set", "big")
			if got := harness.Run(t, cli, "-p", port, "--raw", "get", "big"); got != value+"\n" {
				t.Errorf("%d bytes came back of %d", len(got), len(value)+1)
			}
		})
		for _, version := range []string{"-2", "-3"} {
			t.Run("MULTI "+version+fields, func(t *testing.T) {
				const script = "MULTI\nSET a 5\nINCR a\nGET a\nEXEC\nMULTI\nSET a 9\nDISCARD\nGET a\n"
				const want = "OK\nQUEUED\nQUEUED\nQUEUED\nOK\n6\n6\nOK\nQUEUED\nOK\n6\n"
				if got := harness.RunWith(t, strings.NewReader(script), cli, version, "-p", port); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
			t.Run("SUBSCRIBE "+version+fields, func(t *testing.T) {
				subscriber := harness.StartSession(t, cli, version, "-p", port, "subscribe", "news", "more")
				subscriber.AwaitLine("more")
				for i := range 50 {
					message := fmt.Sprintf("message-%d", i)
					if got := harness.Run(t, cli, "-p", port, "publish", "news", message); got != "1\n" {
						t.Fatalf("%q subscribers got it", got)
					}
					subscriber.AwaitLine(message)
				}
			})
		}
		t.Run("a blocking command "+fields, func(t *testing.T) {
			waiter := harness.StartSession(t, cli, "-p", port, "blpop", "queue", "0")
			harness.Eventually(t, "a blocked client", func() bool {
				return strings.Contains(harness.Run(t, cli, "-p", port, "info", "clients"), "blocked_clients:1")
			})
			harness.Run(t, cli, "-p", port, "rpush", "queue", "job")
			waiter.AwaitLine("job")
		})
		t.Run("MONITOR "+fields, func(t *testing.T) {
			monitor := harness.StartSession(t, cli, "-p", port, "monitor")
			monitor.AwaitLine("OK")
			harness.Run(t, cli, "-p", port, "get", "watched-key")
			monitor.AwaitLine("watched-key")
		})
	}
}

// What would change a connection that others use is answered here (RESP needs bind_upstream_connection).
func TestGenericRedisStickyCommandsNeedBinding(t *testing.T) {
	harness.NoLeaks(t)
	o := harness.NewRaw(t, func(p *harness.Peer) {
		for {
			line, err := p.In.ReadString('\n')
			if err != nil {
				return
			}
			p.Send("$" + fmt.Sprint(len(line)-2) + "\r\n" + line)
		}
	})
	p := harness.StartGeneric(t, harness.GenericTopology{Codec: "redis", Clusters: to(o)})
	p.Dial().Send("GET a\r\nSUBSCRIBE x\r\nAUTH secret\r\nCLIENT REPLY OFF\r\nGET b\r\n").WantText(
		"$5\r\nGET a\r\n-ERR needs_bind_upstream_connection\r\n-ERR needs_bind_upstream_connection\r\n-ERR client_reply_not_supported\r\n$5\r\nGET b\r\n").Close()
	p.WantLines(
		"GET a 0 - via_upstream", "SUBSCRIBE x 1 DPE needs_bind_upstream_connection", "AUTH - 1 DPE needs_bind_upstream_connection",
		"CLIENT - 1 DPE client_reply_not_supported", "GET b 0 - via_upstream")
	p.WantStats(harness.Stats{inGeneric + "downstream_rq_local": 3, inGeneric + "downstream_rq_error": 3, inGeneric + "downstream_rq_flag.DPE": 3})
}

// What ends requests of generic proxies, and the tests that produce it.
func init() {
	for r, test := range map[reason.Reason]string{
		reason.GenericTimeout:        "TestGP03Timeout",
		reason.GenericConnectFailure: "TestGPLocalReplies",
		reason.GenericTermination:    "TestGPLocalReplies",
		reason.GenericOverflow:       "TestGPLocalReplies",
		reason.GenericProtocol:       "TestGPLocalReplies",
		reason.GenericLocalReset:     "TestGP24ResponseBrokenOff",
		reason.GenericMaintenance:    "TestGPLocalReplies",
		reason.GenericDecoding:       "TestGP21DecodingFailure",
		reason.GenericRefused:        "TestGenericRedisStickyCommandsNeedBinding",
		reason.GenericUnanswerable:   "TestGP25NoReply",
		reason.GenericFilter:         "TestGenericFilters",
		reason.GenericOneWay:         "TestGP22OneWay",
	} {
		elsewhere[r] = test
	}
}
