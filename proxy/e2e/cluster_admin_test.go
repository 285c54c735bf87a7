package e2e

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluiceproxy/sluice/proxy/admin"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// adminPages starts the proxy's admin interface, and returns what reads a page of it.
func adminPages(t *testing.T, p *harness.Proxy) func(path string) string {
	t.Helper()
	a, err := admin.New(admin.Options{Server: p.Server, Config: &conf.Admin{Address: conf.Address{IP: netip.MustParseAddrPort("127.0.0.1:0")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	client := h1Client(t, 1)
	return func(path string) string {
		t.Helper()
		resp, err := client.Get("http://" + a.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, resp.Status, err)
		}
		return string(b)
	}
}

// awaitPage waits until a page has all of these lines.
func awaitPage(t *testing.T, page func() string, lines ...string) {
	t.Helper()
	got := ""
	defer func() {
		if t.Failed() {
			t.Log(got)
		}
	}()
	harness.Eventually(t, "the lines "+strings.Join(lines, ", "), func() bool {
		got = page()
		for _, l := range lines {
			if !strings.Contains("\n"+got, "\n"+l+"\n") {
				return false
			}
		}
		return true
	})
}

// /clusters while hosts are judged and ejected (operations.md 2): the rates of an interval, of four hosts that
// answer well and one that never does, and the flags of a host that is out and comes back.
func TestClustersPageUnderEjection(t *testing.T) {
	harness.NoLeaks(t)
	var origins []harness.Origin
	var hosts []*mortal
	for range 5 {
		m := newMortal(t, "x")
		hosts, origins = append(hosts, m), append(origins, m)
	}
	hosts[2].status.Store(500)
	judged := "outlier_detection: { interval: 0.3s, enforcing_consecutive_5xx: 0, enforcing_success_rate: 0, success_rate_request_volume: 10, success_rate_stdev_factor: 1000 }" + noMerge
	p := harness.Start(t, checked(judged, origins...))
	page := adminPages(t, p)
	asked := func() string {
		for range 100 {
			ask(t, p, "h", "/")
		}
		return page("/clusters")
	}
	h := func(i int) string { return "origin::" + hosts[i].addr + "::" }
	// The mean of 100, 100, 0, 100 and 100 is 80, and the deviation, which is taken off it once, 40.
	awaitPage(t, asked, "origin::outlier::success_rate_average::80", "origin::outlier::success_rate_ejection_threshold::40",
		h(1)+"success_rate::100", h(2)+"success_rate::0", h(2)+"health_flags::healthy")

	bad := newMortal(t, "a")
	bad.status.Store(500)
	good := newMortal(t, "b")
	q := harness.Start(t, checked("outlier_detection: { consecutive_5xx: 3, interval: 0.05s, base_ejection_time: 0.5s, max_ejection_time: 0.5s, max_ejection_percent: 50 }"+noMerge, bad, good))
	page = adminPages(t, q)
	one := func() string {
		ask(t, q, "h", "/")
		return page("/clusters")
	}
	awaitPage(t, one, "origin::"+bad.addr+"::health_flags::/failed_outlier_check", "origin::"+good.addr+"::health_flags::healthy", "origin::"+bad.addr+"::success_rate::-1")
	bad.status.Store(200)
	awaitPage(t, one, "origin::"+bad.addr+"::health_flags::healthy")
}
