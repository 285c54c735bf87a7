package e2e

import (
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// The tests in files peer_* put programs that know nothing of the proxy on both sides of it. make peers
// installs them.

// iperfResult is the part of iperf3's report that the test reads.
type iperfResult struct {
	End struct {
		Sent     struct{ Bytes int64 } `json:"sum_sent"`
		Received struct{ Bytes int64 } `json:"sum_received"`
	} `json:"end"`
}

func TestPeerIperf(t *testing.T) {
	iperf := harness.Tool(t, "iperf3")
	harness.NoLeaks(t)
	server := harness.StartDaemon(t, func(port string) *exec.Cmd {
		return exec.Command(iperf, "-s", "-B", "127.0.0.1", "-p", port)
	})
	for _, tc := range []struct {
		name   string
		args   string
		cx     int64
		down   bool
		limits string
	}{
		{"up", "", 2, false, ""},
		{"down", "-R", 2, true, ""},
		{"up, four at a time", "-P 4", 5, false, ""},
		{"down, four at a time", "-R -P 4", 5, true, ""},
		{"up with small buffers", "", 2, false, "per_connection_buffer_limit_bytes: 4096"},
		{"down with small buffers", "-R", 2, true, "per_connection_buffer_limit_bytes: 4096"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clusters := to(harness.At(server.Address())) // which outlives each proxy
			clusters[0].Fields = tc.limits
			p := harness.StartTCP(t, harness.TCPTopology{Loops: 2, Clusters: clusters, Listener: tc.limits})
			_, port, _ := net.SplitHostPort(p.Addr)
			args := append([]string{"-c", "127.0.0.1", "-p", port, "-t", "1", "-J"}, strings.Fields(tc.args)...)
			out := harness.Run(t, iperf, args...)
			var r iperfResult
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			p.AwaitLines(int(tc.cx))
			s := p.Stats()
			in, out1 := s[inTCP+"downstream_cx_rx_bytes_total"], s[onOrigin+"upstream_cx_tx_bytes_total"]
			if tc.down {
				in, out1 = s[onOrigin+"upstream_cx_rx_bytes_total"], s[inTCP+"downstream_cx_tx_bytes_total"]
			}
			// The control connection has its share too. At the end of its time iperf3 closes with data
			// under way, so that not all that was sent arrives.
			const control = 64 << 10
			sent, received := r.End.Sent.Bytes, r.End.Received.Bytes
			if received < 10<<20 || received > out1 || out1 > in || in > sent+control {
				t.Errorf("sent %d, into the proxy %d, out of it %d, received %d: must not grow", sent, in, out1, received)
			}
			p.WantStats(harness.Stats{
				inTCP + "downstream_cx_total": tc.cx, onOrigin + "upstream_cx_total": tc.cx, onOrigin + "upstream_cx_destroy": tc.cx,
				onOrigin + "upstream_cx_connect_fail": 0, inTCP + "downstream_cx_no_route": 0,
			})
		})
	}
}
