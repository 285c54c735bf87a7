package e2e

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// memoryUse is what this process, proxy and test, has after a collection: heap in use, and resident
// memory, 0 where there is no /proc.
type memoryUse struct{ heap, resident int64 }

func memoryInUse() (u memoryUse) {
	debug.FreeOSMemory() // collects first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = int64(m.HeapInuse)
	var size, pages int64
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if _, err := fmt.Sscan(string(b), &size, &pages); err == nil {
			u.resident = pages * int64(os.Getpagesize())
		}
	}
	return u
}

// toll measures what an attack costs the proxy and another client.
type toll struct {
	p      *harness.Proxy
	other  *bystander
	began  time.Time
	before memoryUse
	// buffers bounds what the loops may have in use.
	buffers int
}

// takeToll begins, with a bystander asking from now on.
func takeToll(t testing.TB, p *harness.Proxy) *toll {
	t.Helper()
	x := &toll{p: p, before: memoryInUse(), buffers: tollBuffers}
	x.other = newBystander(t, p)
	x.began = time.Now()
	return x
}

// Bounds of what any attack on one proxy may take: buffers of the loops, growth of the heap, and growth of
// resident memory, which has the attacker in it.
const (
	tollBuffers  = 1 << 20
	tollHeap     = 32 << 20
	tollResident = 64 << 20
)

// settle logs the figures with what was done, and checks their bounds and that the bystander was served.
// At its end the attack must still be under way, or just over.
func (x *toll) settle(done string) {
	t := x.p.T
	t.Helper()
	took := time.Since(x.began)
	buffers, now := x.p.Buffered(), memoryInUse()
	x.other.wantServed()
	heap, resident := now.heap-x.before.heap, now.resident-x.before.resident
	t.Logf("%s in %v: buffers %d KiB, heap %+d KiB, resident %+d KiB; another client got %d answers meanwhile, the slowest after %v",
		done, took.Round(time.Millisecond), buffers>>10, heap>>10, resident>>10, x.other.served, x.other.slowest.Round(10*time.Microsecond))
	if buffers > x.buffers {
		t.Errorf("%d bytes of buffers", buffers)
	}
	if heap > tollHeap {
		t.Errorf("the heap grew by %d MiB", heap>>20)
	}
	if resident > tollResident && !raceEnabled { // which keeps shadows
		t.Errorf("resident memory grew by %d MiB", resident>>20)
	}
}

// bystander is a client that asks all the time.
type bystander struct {
	t      testing.TB
	stop   chan struct{}
	once   sync.Once
	asking sync.WaitGroup
	// Meanwhile; whoever waited for asking may look.
	served  int
	slowest time.Duration
}

func newBystander(t testing.TB, p *harness.Proxy) *bystander {
	t.Helper()
	b := &bystander{t: t, stop: make(chan struct{})}
	c := clientH2(t)
	ask := func() bool {
		began := time.Now()
		a, err := askH2(c, "GET", "http://"+p.Addr+"/", nil)
		if err != nil || a.status != 200 {
			t.Errorf("another client: %v", err)
			return false
		}
		b.slowest = max(b.slowest, time.Since(began))
		return true
	}
	if !ask() {
		t.FailNow()
	}
	b.slowest = 0
	t.Cleanup(b.end)
	b.asking.Go(func() {
		defer c.CloseIdleConnections()
		for ask() {
			b.served++
			select {
			case <-b.stop:
				return
			default:
			}
		}
	})
	return b
}

func (b *bystander) end() {
	b.once.Do(func() { close(b.stop) })
	b.asking.Wait()
}

// wantServed ends it; it must have been answered.
func (b *bystander) wantServed() {
	b.t.Helper()
	if b.end(); b.served == 0 {
		b.t.Error("another client was not served meanwhile")
	}
}
