package engine

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/sluiceproxy/sluice/engine/mailbox"
	"github.com/sluiceproxy/sluice/engine/wheel"
	"github.com/sluiceproxy/sluice/pool/buf"
)

type Options struct {
	Loops           int
	ReadBufferBytes int
	MaxConns        int
	Logger          *slog.Logger
}

type Group struct{ loops []*Loop }

func New(o Options) (*Group, error) { return nil, nil }
func (g *Group) Start() error       { return nil }
func (g *Group) Loops() []*Loop     { return g.loops }
func (g *Group) Listen(spec ListenSpec, accept func(l *Loop) Acceptor) (*Listener, error) {
	return nil, nil
}
func (g *Group) Stop(ctx context.Context) error  { return nil }
func (g *Group) Drain(ctx context.Context) error { return nil }

type ListenSpec struct {
	Network         string
	Addr            string
	Backlog         int
	NoReusePort     bool
	MaxConns        int
	V6Only          bool
	Mode            os.FileMode
	AcceptsPerEvent int
	TCPKeepAlive    KeepAlive
}

type KeepAlive struct {
	Idle, Interval time.Duration
	Count          int
}

type ListenerStats struct {
	Accepted, Refused, AcceptErrors, FDPauses uint64
}

type Listener struct{}

func (l *Listener) Addr() net.Addr       { return nil }
func (l *Listener) Close() error         { return nil }
func (l *Listener) Pause()               {}
func (l *Listener) Resume()              {}
func (l *Listener) Stats() ListenerStats { return ListenerStats{} }

type Loop struct{}

func (l *Loop) Index() int                          { return 0 }
func (l *Loop) Group() *Group                       { return nil }
func (l *Loop) Now() int64                          { return 0 }
func (l *Loop) WallNow() time.Time                  { return time.Time{} }
func (l *Loop) Dial(s DialSpec, h Handler) *Conn    { return nil }
func (l *Loop) Arm(t *wheel.Timer, d time.Duration) {}
func (l *Loop) Disarm(t *wheel.Timer)               {}
func (l *Loop) Post(m mailbox.Message) bool         { return false }
func (l *Loop) Defer(t Task)                        {}
func (l *Loop) Scratch() []byte                     { return nil }
func (l *Loop) Slabs() *buf.Pool                    { return nil }
func (l *Loop) Conns() int                          { return 0 }
func (l *Loop) OnLoop() bool                        { return true }
func (l *Loop) Context() any                        { return nil }
func (l *Loop) SetContext(v any)                    {}

type DialSpec struct {
	Network   string
	Addr      netip.AddrPort
	Path      string
	Bind      netip.AddrPort
	Timeout   time.Duration
	KeepAlive KeepAlive
}

type Conn struct{}

func (c *Conn) ID() uint64                            { return 0 }
func (c *Conn) Loop() *Loop                           { return nil }
func (c *Conn) FD() int                               { return 0 }
func (c *Conn) Handler() Handler                      { return nil }
func (c *Conn) SetHandler(h Handler)                  {}
func (c *Conn) LocalAddr() netip.AddrPort             { return netip.AddrPort{} }
func (c *Conn) RemoteAddr() netip.AddrPort            { return netip.AddrPort{} }
func (c *Conn) Write(p []byte)                        {}
func (c *Conn) Write2(a, b []byte)                    {}
func (c *Conn) Cork()                                 {}
func (c *Conn) Uncork()                               {}
func (c *Conn) Buffered() int                         { return 0 }
func (c *Conn) Above() bool                           { return false }
func (c *Conn) SetWatermarks(high int)                {}
func (c *Conn) SetReadLimit(n int)                    {}
func (c *Conn) PauseRead()                            {}
func (c *Conn) ResumeRead()                           {}
func (c *Conn) ReadPaused() bool                      { return false }
func (c *Conn) Kept() int                             { return 0 }
func (c *Conn) KeptView() []byte                      { return nil }
func (c *Conn) TakeKept(n int)                        {}
func (c *Conn) CloseWrite()                           {}
func (c *Conn) Close()                                {}
func (c *Conn) CloseAfterFlush(timeout time.Duration) {}
func (c *Conn) Reset()                                {}
func (c *Conn) BytesRead() uint64                     { return 0 }
func (c *Conn) BytesWritten() uint64                  { return 0 }
func (c *Conn) Closed() bool                          { return false }
func (c *Conn) ReadClosed() bool                      { return false }
func (c *Conn) Err() error                            { return nil }
func (c *Conn) SetNoDelay(on bool)                    {}
func (c *Conn) SetRawReader(r RawReader)              {}
func (c *Conn) SetRawWriter(w RawWriter)              {}
