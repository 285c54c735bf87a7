package worker

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newWorker(t *testing.T) *Worker {
	t.Helper()
	g, err := engine.New(engine.Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	return &Worker{Loop: g.Loops()[0]}
}

// What a loop has not begun when its time is up never runs: its caller may have gone on with the same
// variables.
func TestDoThatWasGivenUpNeverRuns(t *testing.T) {
	w := newWorker(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	first := make(chan bool)
	go func() {
		first <- w.Do(func() { close(began); <-goOn }, time.Minute)
	}()
	<-began
	ran := false
	if w.Do(func() { ran = true }, 10*time.Millisecond) {
		t.Error("a call is reported to have run while the loop was busy")
	}
	close(goOn)
	if !<-first {
		t.Error("the first call is reported not to have run")
	}
	if !w.Do(func() {}, time.Minute) { // behind the one that was given up
		t.Error("the loop does not answer")
	}
	if ran {
		t.Error("a call that was given up ran")
	}
}

// A call that has begun when its time is up is waited for.
func TestDoWaitsForWhatHasBegun(t *testing.T) {
	w := newWorker(t)
	const wait = 300 * time.Millisecond
	n := 0
	if !w.Do(func() {
		time.Sleep(2 * wait) // Do waits for the beginning no longer than wait
		n = 1
	}, wait) || n != 1 {
		t.Error("the call is not waited for")
	}
}
