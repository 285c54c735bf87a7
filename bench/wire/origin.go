package wire

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Requests with these targets are the runner's own and never part of a case.
const (
	sentinelPath = "/wire-sentinel"
	openPath     = "/wire-open"
)

const defaultAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// pauseTime separates two segments. It is no synchronisation: a case holds whether or not the peer
// sees the bytes apart.
const pauseTime = 3 * time.Millisecond

// closeTimeout bounds how long the end of a case waits for the proxy to close an upstream connection.
const closeTimeout = 500 * time.Millisecond

// origin is a raw TCP server that plays the answers of one case at a time and remembers every byte
// sent to it. It never reuses a connection from one case to the next.
type origin struct {
	l net.Listener

	mu        sync.Mutex
	answers   []Answer
	seen      []*message
	sentinels int
	conns     map[*net.TCPConn]bool
	connCount int // within a case
	over      bool
	barrier   chan struct{}
	wg        sync.WaitGroup // connections of the case
}

// newOrigin listens on addr ("127.0.0.1:0" for any port).
func newOrigin(addr string) (*origin, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	o := &origin{l: l, conns: map[*net.TCPConn]bool{}}
	go o.accept()
	return o, nil
}

func (o *origin) addr() string { return o.l.Addr().String() }

// close ends the listener and all connections.
func (o *origin) close() {
	o.l.Close()
	o.endConns()
}

// begin makes the answers of a case current.
func (o *origin) begin(answers []Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers, o.seen, o.sentinels, o.over, o.connCount = answers, nil, 0, false, 0
}

// end takes in every byte that has arrived, closes all connections, and returns the requests of the
// case and the number of sentinels. A barrier connection makes sure that connections waiting to be
// accepted are counted in.
func (o *origin) end() (seen []*message, sentinels int, err error) {
	done := make(chan struct{})
	o.mu.Lock()
	o.barrier = done
	o.mu.Unlock()
	c, err := net.Dial("tcp", o.addr())
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	if _, err := c.Write([]byte(barrierLine)); err != nil {
		return nil, 0, err
	}
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		return nil, 0, errors.New("the origin does not accept connections")
	}
	o.endConns()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen, o.sentinels, nil
}

func (o *origin) endConns() {
	o.mu.Lock()
	o.over = true
	for t := range o.conns {
		finish(t)
	}
	o.mu.Unlock()
	o.wg.Wait()
}

const barrierLine = "BARRIER\r\n"

func (o *origin) accept() {
	for {
		c, err := o.l.Accept()
		if err != nil {
			return
		}
		t := c.(*net.TCPConn)
		o.mu.Lock()
		o.conns[t] = true
		o.connCount++
		n := o.connCount
		o.wg.Add(1)
		o.mu.Unlock()
		go o.serve(t, n)
	}
}

// serve reads requests strictly and plays the answers until the connection is of no more use.
func (o *origin) serve(t *net.TCPConn, n int) {
	defer func() {
		t.Close()
		o.mu.Lock()
		delete(o.conns, t)
		o.mu.Unlock()
		o.wg.Done()
	}()
	r := bufio.NewReader(t)
	if b, _ := r.Peek(len(barrierLine)); string(b) == barrierLine {
		o.mu.Lock()
		close(o.barrier)
		o.mu.Unlock()
		return
	}
	for o.serveOne(t, r, n) {
	}
}

// serveOne handles one request and says whether another may follow.
func (o *origin) serveOne(t *net.TCPConn, r *bufio.Reader, n int) bool {
	m, err := readRequest(r)
	if m == nil {
		return false
	}
	m.conn = n
	if err != nil {
		o.note(m)
		return false
	}
	switch target := strings.Split(m.line, " ")[1]; target {
	case sentinelPath, openPath:
		if m.readBody(r) != nil || len(m.faults) > 0 || len(m.body) > 0 {
			o.note(m)
			return false
		}
		if target == sentinelPath {
			o.mu.Lock()
			o.sentinels++
			o.mu.Unlock()
		}
		return o.write(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target))
	}
	a := o.note(m)
	if !a.Early {
		if m.readBody(r) != nil {
			return false
		}
	}
	return o.play(t, r, m, a)
}

// note remembers a request and returns the answer for it.
func (o *origin) note(m *message) Answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, m)
	if len(o.answers) == 0 {
		return Answer{Steps: []Step{{Op: Send, Bytes: []byte(defaultAnswer)}}}
	}
	return o.answers[min(len(o.seen), len(o.answers))-1]
}

// play runs the steps of an answer.
func (o *origin) play(t *net.TCPConn, r *bufio.Reader, m *message, a Answer) bool {
	read := !a.Early
	for _, s := range a.Steps {
		switch s.Op {
		case Send:
			if !o.write(t, string(s.Bytes)) {
				return false
			}
		case Pause:
			time.Sleep(pauseTime)
		case ReadBody:
			if m.readBody(r) != nil {
				return false
			}
			read = true
		case CloseAfter:
			return false
		case Reset:
			t.SetLinger(0)
			return false
		default:
		}
	}
	return read || m.readBody(r) == nil
}

// write sends, and says whether the connection is still good. When the case is over nothing is sent:
// what is read then is only for the record.
func (o *origin) write(t *net.TCPConn, s string) bool {
	o.mu.Lock()
	over := o.over
	o.mu.Unlock()
	if over {
		return true
	}
	t.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := t.Write([]byte(s))
	return err == nil
}

// finish ends a connection from our side and has its reader take in what has arrived and what still
// comes until the proxy closes too. Only then is it sure that the proxy has taken the connection out
// of its pool, so that the next case cannot meet it. A proxy that does not close is waited for no
// longer than closeTimeout.
func finish(c *net.TCPConn) {
	c.SetWriteDeadline(time.Unix(1, 0))
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(closeTimeout))
}
