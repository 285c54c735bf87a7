package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// small makes windows that are met with few bytes; 65535 is the least there can be.
func small(o *Options) { o.InitialStreamWindow, o.InitialConnWindow = 65535, 100_000 }

func TestSendWindows(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("headers 1 end get", "headers 3 end get"))
	one, three := w.streams[1], w.streams[3]
	w.c.WriteHeaders(one, headOf("200"), false)
	w.c.WriteHeaders(three, headOf("200"), false)
	w.taken(p)
	body := make([]byte, 100_000)

	if n := w.c.WriteData(one, body, true); n != 65535 {
		t.Errorf("the first windows let %d bytes go", n)
	}
	if got, want := w.taken(p), "data 1 16384 bytes; data 1 16384 bytes; data 1 16384 bytes; data 1 16383 bytes"; got != want {
		t.Errorf("got %s", got)
	}
	if n := w.c.WriteData(three, body[:1], true); n != 0 {
		t.Errorf("the connection's window is used up, and %d bytes went", n)
	}
	w.takeLog()

	// The stream's window alone is no use; the connection's then wakes both in the order they waited.
	w.feed(t, p.frames("window 1 100000"))
	if log := w.takeLog(); log != "" {
		t.Errorf("woken by %s", log)
	}
	w.onWindow = func(st *Stream) {
		if st == one {
			fmt.Fprintf(&logOf{w}, "%d", w.c.WriteData(one, body[65535:], true))
			return
		}
		w.c.WriteData(three, body[:1], true)
	}
	w.feed(t, p.frames("window 0 10"))
	if got := w.takeLog(); got != "window 1; 10" {
		t.Errorf("events %s", got)
	}
	w.feed(t, p.frames("window 0 100000"))
	if got := w.takeLog(); got != "window 3; window 1; 34465" && got != "window 1; 34465; window 3" {
		t.Errorf("events %s", got)
	}
	if one.State() != StateClosed || three.State() != StateClosed {
		t.Errorf("states %s, %s", one.State(), three.State())
	}
}

// logOf writes into an owner's log.
type logOf struct{ w *owner }

func (l *logOf) Write(b []byte) (int, error) { l.w.add("%s", b); return len(b), nil }

func TestEmptyDataEndsWithoutAWindow(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("settings 4=0", "headers 1 end get"))
	st := w.streams[1]
	w.c.WriteHeaders(st, headOf("200"), false)
	if n := w.c.WriteData(st, []byte("x"), false); n != 0 {
		t.Errorf("%d bytes without a window", n)
	}
	w.feed(t, p.frames("settings 4=5", "settings 4=1", "window 1 1"))
	if n := w.c.WriteData(st, []byte("abc"), false); n != 2 {
		t.Errorf("%d bytes, the window is 2", n)
	}
	w.feed(t, p.frames("settings 4=0"))
	if st.SendWindow() != -1 {
		t.Errorf("window %d after the initial one shrank (6.9.2)", st.SendWindow())
	}
	w.taken(p)
	if w.c.WriteData(st, nil, true); w.taken(p) != "data 1 end " {
		t.Error("an empty frame does not need a window")
	}
}

func TestSettingsWakeStreams(t *testing.T) {
	w, p := begin(t, false, nil)
	w.feed(t, p.frames("settings 4=3", "headers 1 end get"))
	st := w.streams[1]
	w.c.WriteHeaders(st, headOf("200"), false)
	if n := w.c.WriteData(st, []byte("abcdef"), true); n != 3 {
		t.Fatal(n)
	}
	w.takeLog()
	w.feed(t, p.frames("settings 4=2"))
	if log := w.takeLog(); log != "" || st.SendWindow() != -1 {
		t.Errorf("events %s, window %d", log, st.SendWindow())
	}
	w.feed(t, p.frames("settings 4=6"))
	if log := w.takeLog(); log != "window 1" || st.SendWindow() != 3 {
		t.Errorf("events %s, window %d", log, st.SendWindow())
	}
}

func TestReceiveWindowsAreCreditedWhenConsumed(t *testing.T) {
	w, p := begin(t, false, small)
	w.keep = true
	w.feed(t, p.frames("headers 1 post", "data 1 16000*x", "data 1 16000*x", "data 1 16000*x"))
	st := w.streams[1]
	if got := w.taken(p); got != "" {
		t.Errorf("credit for what was not consumed: %s", got)
	}
	w.c.Consumed(st, 32000)
	if got := w.taken(p); got != "" {
		t.Errorf("credit for less than half a window: %s", got)
	}
	w.c.Consumed(st, 16000)
	if got := w.taken(p); got != "window 1 48000" {
		t.Errorf("for the stream: %s", got)
	}
	w.feed(t, p.frames("data 1 2000*x"))
	w.c.Consumed(st, 5000) // more than there is: taken as all of it
	if got := w.taken(p); got != "window 0 50000" {
		t.Errorf("for the connection: %s", got)
	}
	// What the owner never consumes is given back to the connection with the stream.
	w.feed(t, p.frames("data 1 16000*x", "data 1 16000*x", "data 1 end 16000*x"))
	if got := w.taken(p); got != "" {
		t.Errorf("got %s", got)
	}
	w.c.WriteHeaders(st, headOf("200"), true)
	w.taken(p)
	w.c.Release(st)
	w.feed(t, p.frames("headers 3 post", "padded 3 201 "+strings.Repeat("y", 3000)))
	w.c.Release(w.streams[3])
	if got := w.taken(p); got != "reset 3 CANCEL; window 0 51202" {
		t.Errorf("got %s", got)
	}
}

func TestDataForDeadStreamsIsCreditedAtOnce(t *testing.T) {
	w, p := begin(t, false, small)
	w.feed(t, p.frames("headers 1 post"))
	w.c.Reset(w.streams[1], Cancel)
	w.taken(p)
	w.feed(t, p.frames("data 1 16000*x", "data 1 16000*x", "data 1 16000*x", "padded 1 100 "+strings.Repeat("y", 1900)))
	if got := w.taken(p); got != "window 0 50001" {
		t.Errorf("got %s", got)
	}
	// The same when the reset comes in the middle of a frame.
	w.feed(t, p.frames("headers 3 post"))
	w.keep = true
	w.onData = func(st *Stream, _ []byte, _ bool) { w.c.Release(st) }
	b := bytes.Repeat(p.frames("data 3 16000*x"), 4)
	w.feed(t, b[:100])
	w.feed(t, b[100:])
	if got := w.taken(p); got != "reset 3 CANCEL; window 0 64000" && !strings.HasPrefix(got, "reset 3 CANCEL; window 0 5") {
		t.Errorf("got %s", got)
	}
}

func TestReceiveWindowOverrun(t *testing.T) {
	w, p := begin(t, false, small)
	w.keep = true
	full := []string{"data 1 16384*x", "data 1 16384*x", "data 1 16384*x", "data 1 16383*x"}
	w.feed(t, p.frames(append([]string{"headers 1 post"}, full...)...))
	w.taken(p)
	if e := w.feed(t, p.frames("data 1 x")); e != OK || w.taken(p) != "reset 1 FLOW_CONTROL_ERROR" {
		t.Errorf("one byte over the stream's window: %s", e.Explain())
	}
	w.feed(t, p.frames("headers 3 post", "data 3 16384*x", "data 3 16384*x"))
	// 1696 of 100,000 are left, one of them lost to stream 1 and credited.
	if e := w.feed(t, p.frames("data 3 1698*x")); e != ErrConnWindow {
		t.Errorf("over the connection's window: %s", e.Explain())
	}
}

// TestWindowInvariants moves data both ways between two Conns in random order: no window is ever
// TestBothRolesTogether moves data both ways between two Conns in random order: no window is ever
// overrun, and everything arrives.
func TestBothRolesTogether(t *testing.T) {
	for seed := range uint64(30) {
		runPair(t, seed)
	}
}
