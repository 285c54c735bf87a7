package health

import (
	"bytes"
	"context"
	"fmt"
	"net"
)

// link is a connection that a check may keep for the next one.
type link struct{ conn net.Conn }

// open connects unless there is a connection, and bounds what follows by ctx: when that ends, the
// connection is closed. undo must be called before the connection is kept.
func (l *link) open(ctx context.Context, t *Target, alpn []string) (undo func() bool, err error) {
	if l.conn == nil {
		if l.conn, err = t.Dial(ctx, alpn); err != nil {
			return nil, err
		}
	}
	if at, ok := ctx.Deadline(); ok {
		_ = l.conn.SetDeadline(at)
	}
	conn := l.conn
	return context.AfterFunc(ctx, func() { conn.Close() }), nil
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// tcpCheck connects; then sends and waits for what is to be received, if there is any.
type tcpCheck struct {
	c *Checker
	t *Target
	link
	received []byte
}

// maxReceived bounds what is kept of an answer that does not match.
const maxReceived = 64 << 10

func (k *tcpCheck) check(ctx context.Context) Result {
	o := k.c.o.Conf
	if len(o.TCP.Receive) == 0 {
		k.link.close() // nobody would answer on an old one
	}
	undo, err := k.open(ctx, k.t, o.ALPN)
	if err != nil {
		return Result{Outcome: Unreachable, Err: err}
	}
	r := k.talk()
	if !undo() || r.Outcome != Good || !o.ReuseConnection || len(o.TCP.Receive) == 0 {
		k.link.close()
	}
	return r
}

func (k *tcpCheck) talk() Result {
	o := k.c.o.Conf.TCP
	if len(o.Send) > 0 {
		if _, err := k.conn.Write(o.Send); err != nil {
			return Result{Outcome: Unreachable, Err: err}
		}
	}
	if len(o.Receive) == 0 {
		return Result{}
	}
	k.received = k.received[:0]
	piece := make([]byte, 2048)
	for !inOrder(k.received, o.Receive) {
		if len(k.received) > maxReceived {
			return Result{Outcome: Bad, Err: fmt.Errorf("%d bytes without what is expected", len(k.received))}
		}
		n, err := k.conn.Read(piece)
		k.received = append(k.received, piece[:n]...)
		if err != nil && !inOrder(k.received, o.Receive) {
			return Result{Outcome: Unreachable, Err: err}
		}
	}
	return Result{}
}

// inOrder says whether all wanted pieces are in b, one behind the other.
func inOrder(b []byte, wanted [][]byte) bool {
	for _, w := range wanted {
		i := bytes.Index(b, w)
		if i < 0 {
			return false
		}
		b = b[i+len(w):]
	}
	return true
}
