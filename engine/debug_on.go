//go:build sluicedebug

package engine

import (
	"bytes"
	"runtime"
	"strconv"
	"sync/atomic"
)

const debug = true

// check panics when a connection is used after OnClosed, or off its loop.
func (c *Conn) check() {
	if c.flags&fFreed != 0 {
		panic("engine: a connection is used after OnClosed: " + c.String())
	}
	c.loop.check()
}

// check panics when something loop-owned is used on another goroutine.
func (l *Loop) check() {
	if !l.OnLoop() {
		panic("engine: a loop's own object is used on another goroutine")
	}
}

// goroutineID remembers the goroutine a loop runs on.
type goroutineID struct{ id atomic.Int64 }

func (g *goroutineID) claim() { g.id.Store(currentGoroutine()) }

// isCaller is also true before the loop runs: set-up happens elsewhere.
func (g *goroutineID) isCaller() bool {
	id := g.id.Load()
	return id == 0 || id == currentGoroutine()
}

// currentGoroutine reads the number from "goroutine 12 [running]:".
func currentGoroutine() int64 {
	var b [64]byte
	s := bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine "))
	s, _, _ = bytes.Cut(s, []byte(" "))
	id, _ := strconv.ParseInt(string(s), 10, 64)
	return id
}
