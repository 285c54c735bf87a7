//go:build !race && !sluicedebug

package relay_test

import (
	"io"
	"runtime"
	"testing"

	"github.com/sluiceproxy/sluice/engine/relay"
)

// TestMovingBytesDoesNotAllocate relays small messages (copied) and megabytes
// (spliced) through a tunnel that is up.
func TestMovingBytesDoesNotAllocate(t *testing.T) {
	client, origin, _, _ := tunnel(t, relay.Options{})
	small, big := make([]byte, 64), make([]byte, 1<<20)
	arrived := make(chan error)
	go func() {
		for _, b := range [][]byte{small, big} {
			for range 200 {
				_, err := io.ReadFull(origin, b)
				arrived <- err
			}
		}
		for range 200 * 4 {
			_, err := io.ReadFull(origin, big)
			arrived <- err
		}
	}()
	send := func(b []byte) {
		for range 200 {
			if _, err := client.Write(b); err != nil {
				t.Error(err)
			}
			if err := <-arrived; err != nil {
				t.Error(err)
			}
		}
	}
	send(small)
	send(big)
	least := ^uint64(0)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		send(big)
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	if least > 8 {
		t.Errorf("%d allocations in 200 relayed megabytes", least)
	}
}
