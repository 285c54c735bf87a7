package tlsio_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"time"

	"github.com/sluiceproxy/sluice/engine"
	"github.com/sluiceproxy/sluice/engine/tlsio"
)

// secure is an echo server: the handler is the one it would be on plain TCP.
type secure struct {
	layer  *tlsio.Layer
	config *tls.Config
}

func (s secure) OnAccept(c *engine.Conn) engine.Handler {
	s.layer.Server(c, s.config, 10*time.Second)
	return s
}

// OnConnected says that the handshake is done.
func (s secure) OnConnected(c *engine.Conn) {
	fmt.Fprintf(io.Discard, "%s speaks %s\n", c.RemoteAddr(), tls.VersionName(tlsio.State(c).Version))
}

func (secure) OnData(c *engine.Conn, view []byte) int             { c.Write(view); return len(view) }
func (secure) OnReadClosed(c *engine.Conn)                        { c.CloseWrite() }
func (secure) OnWritable(*engine.Conn)                            {}
func (secure) OnClosed(_ *engine.Conn, reason engine.CloseReason) {}

// A TLS echo server.
func Example() {
	g, _ := engine.New(engine.Options{Loops: 1})
	_ = g.Start()
	defer g.Stop(context.Background())
	s := secure{tlsio.New(tlsio.Options{}), serverConfig(0)}
	ln, err := g.Listen(engine.ListenSpec{Addr: "127.0.0.1:0"}, func(*engine.Loop) engine.Acceptor { return s })
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := tls.Dial("tcp", ln.Addr().String(), clientConfig(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "hello, loop")
	_ = c.CloseWrite()
	b, _ := io.ReadAll(c)
	c.Close()
	fmt.Printf("%s\n", b)
	// Output: hello, loop
}
