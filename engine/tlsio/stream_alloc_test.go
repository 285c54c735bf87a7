//go:build !race && !sluicedebug

package tlsio_test

import (
	"crypto/tls"
	"io"
	"runtime"
	"testing"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// TestSteadyStateAllocations: crypto/tls allocates one small object (24 bytes) per
// record it reads and nothing per record it writes, here as with net alone, and
// nothing else allocates: two per round trip, one at each end.
func TestSteadyStateAllocations(t *testing.T) {
	for _, version := range versions {
		for _, size := range []int{64, 4000, 16 << 10} {
			g := group(t, engine.Options{Loops: 1})
			plain := mallocsPerTrip(t, blockingEcho(t, version), version, size)
			ours := mallocsPerTrip(t, listen(t, g, echoAcceptor{tlsio.New(tlsio.Options{}), serverConfig(version)}), version, size)
			t.Logf("%s, %d bytes: %.2f allocations a round trip, %.2f with net alone",
				tls.VersionName(version), size, ours, plain)
			if ours > plain+0.1 || ours > 2.1 {
				t.Errorf("%s, %d bytes: %.2f allocations a round trip, %.2f with net alone",
					tls.VersionName(version), size, ours, plain)
			}
		}
	}
}

func mallocsPerTrip(t *testing.T, addr string, version uint16, size int) float64 {
	t.Helper()
	c, _ := dialTLS(t, addr, clientConfig(version))
	b := make([]byte, size)
	const trips = 200
	trip := func() {
		for range trips {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	trip()
	least := ^uint64(0)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		trip()
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return float64(least) / trips
}
