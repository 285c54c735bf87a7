//go:build linux && (amd64 || arm64) && !race

package bench

import (
	"io"
	"net"
	"runtime"
	"testing"
)

func TestRunDoesNotAllocatePerRequest(t *testing.T) {
	echo, err := ListenEcho()
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	for name, l := range map[string]Load{
		"closed loop": {WantBytes: 2},
		"open loop":   {WantBytes: 2, Rate: 10_000},
		"upload":      {WantBytes: 2, Method: "POST", BodyBytes: 1000},
		"ping-pong":   {PingPongBytes: 64},
		"both ends":   {PingPongBytes: 64, Echo: echo},
		"from a file": {PingPongBytes: sendfileBytes},
		"sink":        {SinkBytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			l.Addr = serveRaw(t, answerAll("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
			switch {
			case l.Echo != nil:
				l.Addr = echo.Addr()
			case l.PingPongBytes > 0:
				l.Addr = serveRaw(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
			case l.SinkBytes > 0:
				l.Addr = serveRaw(t, func(c net.Conn) {
					for b := make([]byte, 4096); ; {
						if _, err := c.Write(b); err != nil {
							return
						}
					}
				})
			}
			l.Conns, l.MaxRequests, l.Duration = 4, 3000, hour
			var before, after runtime.MemStats
			l.OnWindow = func(open bool) {
				if open {
					runtime.ReadMemStats(&before)
				} else {
					runtime.ReadMemStats(&after)
				}
			}
			res, err := Run(t.Context(), l)
			if err != nil || res.Requests != l.MaxRequests {
				t.Fatalf("%d right, errors: %s (%v)", res.Requests, &res.Errors, err)
			}
			// The server's goroutines and the runtime allocate a few objects of their own, per connection.
			if n := after.Mallocs - before.Mallocs; n > 300 {
				t.Errorf("%d allocations in %d requests", n, res.Requests)
			}
		})
	}
}
