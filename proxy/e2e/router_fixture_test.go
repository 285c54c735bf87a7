package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// internalClients makes every client internal, so that the router's headers are honoured (RT-92).
const internalClients = "use_remote_address: true\ninternal_address_config: { cidr_ranges: [{ address_prefix: 127.0.0.0, prefix_len: 8 }] }"

// answered is an answer with that status, its number as the body, and further field lines.
func answered(code int, fields ...string) string {
	text := strconv.Itoa(code)
	head := strings.Join(append(fields, ""), "\r\n")
	return fmt.Sprintf("HTTP/1.1 %d Word\r\n%sContent-Length: %d\r\n\r\n%s", code, head, len(text), text)
}

// inTurn is an origin that gives its answers in turn; the last one stands for all that follow.
func inTurn(t testing.TB, answers ...string) *harness.Recorder {
	var n atomic.Int64
	return harness.NewRecorder(t, func(*harness.Message) string {
		return answers[min(int(n.Add(1)), len(answers))-1]
	})
}

// retrying is a topology whose only route has this action, in front of the origins.
func retrying(action string, origins ...harness.Origin) harness.Topology {
	return harness.Topology{
		Manager: internalClients, Action: action,
		Clusters: []harness.Cluster{{Name: "origin", Origins: origins}},
	}
}

// quick is a retry policy without much waiting.
func quick(policy string) string {
	return "retry_policy: { " + policy + ", retry_back_off: { base_interval: 0.001s } }"
}

// wantCounts checks stats of the cluster "origin".
func wantCounts(p *harness.Proxy, of map[string]int64) {
	p.T.Helper()
	want := harness.Stats{}
	for name, v := range of {
		want[onOrigin+name] = v
	}
	p.WantStats(want)
}
