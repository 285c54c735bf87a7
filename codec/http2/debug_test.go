//go:build sluicedebug

package http2

import "testing"

func TestUseAfterReleaseIsCaught(t *testing.T) {
	for name, use := range map[string]func(c *Conn, st *Stream){
		"released twice": func(c *Conn, st *Stream) { c.Release(st) },
		"written to":     func(c *Conn, st *Stream) { c.WriteData(st, []byte("x"), true) },
		"answered":       func(c *Conn, st *Stream) { c.WriteHeaders(st, headOf("200"), true) },
		"ended":          func(c *Conn, st *Stream) { c.WriteTrailers(st, headOf("200")) },
		"reset":          func(c *Conn, st *Stream) { c.Reset(st, Cancel) },
		"consumed":       func(c *Conn, st *Stream) { c.Consumed(st, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			w, p := begin(t, false, nil)
			w.feed(t, p.frames("headers 1 get"))
			st := w.streams[1]
			w.c.Release(st)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			use(&w.c, st)
		})
	}
}
