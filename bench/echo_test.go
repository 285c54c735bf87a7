//go:build linux && (amd64 || arm64)

package bench

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestEchoSendsBackEverythingAndTheEnd(t *testing.T) {
	e, err := ListenEcho()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	echoes(t, e, 5)
	echoes(t, e, 16<<10)
	echoes(t, e, 20<<20) // more than the sockets hold: the echo must wait for room
}

// echoes sends n bytes, and reads none of them before it has to.
func echoes(t *testing.T, e *Echo, n int) {
	t.Helper()
	c, err := net.Dial("tcp", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	sent := Pattern(nil, n)
	writing := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		writing <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	select {
	case err := <-writing:
		writing <- err
	case <-time.After(50 * time.Millisecond): // both directions are full by now
	}
	got, err := io.ReadAll(c)
	if err = errors.Join(err, <-writing); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes back: %v", len(got), n, err)
	}
}

func TestRunServesItsEcho(t *testing.T) {
	e, err := ListenEcho()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 2 {
		res, err := Run(t.Context(), Load{Addr: e.Addr(), Echo: e, Conns: 16, PingPongBytes: 1000, Duration: hour, MaxRequests: 500})
		if err != nil || res.Requests != 500 || res.BodyBytes != 500_000 || res.Errors.Total() != 0 {
			t.Errorf("%d requests, %d bytes, errors: %s (%v)", res.Requests, res.BodyBytes, &res.Errors, err)
		}
		echoes(t, e, 100) // by itself again
	}
	if _, err := Run(t.Context(), Load{Addr: e.Addr(), Echo: e, Duration: hour}); err == nil {
		t.Error("an echo behind HTTP")
	}
}

func TestEchoClosesWhatIsOpenAtItsEnd(t *testing.T) {
	e, err := ListenEcho()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	e.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection outlives the echo: %v", err)
	}
}
