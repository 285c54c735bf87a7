package harness

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// NoLeaks has the test fail when, at its end, there are goroutines or descriptors that were not there
// now. For top-level tests that run alone; their subtests may be parallel, and are over by then.
func NoLeaks(t testing.TB) {
	t.Helper()
	touchNetwork(t)
	goroutines := goleak.IgnoreCurrent()
	before := descriptors()
	t.Cleanup(func() {
		if err := goleak.Find(goroutines); err != nil {
			t.Error(err)
		}
		var more []string
		if !within(Patience/4, func() bool {
			more = added(before, descriptors())
			return len(more) == 0
		}) {
			t.Errorf("%d descriptors are still open: %s", len(more), strings.Join(more, ", "))
		}
	})
}

// touchNetwork has the runtime open its poller, which stays.
func touchNetwork(t testing.TB) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	_ = w.Close()
}

// descriptors returns what every open descriptor of the process is, by number; empty on systems
// without /proc.
func descriptors() map[string]string {
	out := map[string]string{}
	if runtime.GOOS != "linux" {
		return out
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return out
	}
	for _, e := range entries {
		// The directory's own descriptor is closed by now and has no link any more.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			out[e.Name()] = to
		}
	}
	return out
}

// added returns the descriptors of after beyond the number of before.
func added(before, after map[string]string) (out []string) {
	if len(after) <= len(before) {
		return nil
	}
	for fd, what := range after {
		if before[fd] != what {
			out = append(out, fmt.Sprintf("%s (%s)", fd, what))
		}
	}
	slices.Sort(out)
	return out
}
