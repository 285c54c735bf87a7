package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// RT-133, ROUTER-61: how much of a body is kept for another try: what the route says, else its virtual host,
// else the lesser of the older limit and the listener's, else the listener's.
func TestROUTER61AndRT133WhoseLimitCounts(t *testing.T) {
	const body, perRequest = "request_body_buffer_limit: ", "per_request_buffer_limit_bytes: "
	for _, row := range []struct {
		title, listener, host, route string
		limit                        int
	}{
		{"the listener's", "per_connection_buffer_limit_bytes: 3000", "", "", 3000},
		{"the virtual host's, more than the listener's", "per_connection_buffer_limit_bytes: 3000", body + "9000", "", 9000},
		{"the route's", "", body + "9000", body + "2000", 2000},
		{"the older one", "", perRequest + "2500", "", 2500},
		{"the older one of the route", "", perRequest + "2500", perRequest + "2000", 2000},
		{"the older one, more than the listener's", "per_connection_buffer_limit_bytes: 3000", perRequest + "9000", "", 3000},
		{"the route's older one and its host's newer one", "", body + "9000", perRequest + "2000", 2000},
		{"none", "", body + "0", "", 0},
	} {
		t.Run(row.title, func(t *testing.T) {
			harness.NoLeaks(t)
			o := inTurn(t, answered(503))
			top := retrying("", o)
			top.Listener, top.VirtualHost = row.listener, row.host
			top.Routes = "- match: { prefix: / }\n  route: { cluster: origin, " + quick("retry_on: 5xx") + " }\n  " + row.route
			p := harness.Start(t, top)
			w := harness.DialWire(t, "tcp", p.Addr)
			for _, n := range []int{row.limit, row.limit + 1} {
				before := len(o.Seen())
				w.Do(fmt.Sprintf("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n)))
				want := 2
				if n > row.limit {
					want = 1
				}
				if got := len(o.Seen()) - before; got != want {
					t.Errorf("%d bytes: %d tries, want %d", n, got, want)
				}
			}
			w.Close()
			wantCounts(p, map[string]int64{"retry_or_shadow_abandoned": 1, "upstream_rq_retry": 1})
		})
	}
}
