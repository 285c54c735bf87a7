package wire

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
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

// origin is a raw TCP server that plays the answers of one case at a time and remembers every byte
// sent to it. It never reuses a connection from one case to the next.
type origin struct {
	l net.Listener

	mu        sync.Mutex
	answers   []Answer
	seen      []*message
	sentinels int
	conns     map[*tap]bool
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
	o := &origin{l: l, conns: map[*tap]bool{}}
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
// accepted are counted in; bytes that were delivered to a socket are read before it is closed.
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
		t.finish()
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
		t := &tap{TCPConn: c.(*net.TCPConn)}
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
func (o *origin) serve(t *tap, n int) {
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
func (o *origin) serveOne(t *tap, r *bufio.Reader, n int) bool {
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
func (o *origin) play(t *tap, r *bufio.Reader, m *message, a Answer) bool {
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
func (o *origin) write(t *tap, s string) bool {
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

// tap is a connection whose reading can be ended without losing what has arrived: after finish, Read
// returns the bytes that are in the socket already, then errEnd.
type tap struct {
	*net.TCPConn
	over bool // touched by the reading goroutine only
}

// finish makes a blocked Read look at the socket once more and return.
func (t *tap) finish() { t.SetReadDeadline(time.Unix(1, 0)) }

// Read reads as described at tap.
func (t *tap) Read(p []byte) (int, error) {
	if !t.over {
		n, err := t.TCPConn.Read(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		t.over = true
		t.SetReadDeadline(time.Time{})
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, rerr := 0, error(nil)
	err = raw.Read(func(fd uintptr) bool {
		n, rerr = syscall.Read(int(fd), p)
		return true
	})
	if err != nil || rerr != nil || n <= 0 {
		return 0, errEnd
	}
	return n, nil
}
