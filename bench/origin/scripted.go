package origin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Script is what a scripted server does on one connection: its steps in order, then it closes.
type Script []Step

// Step is one thing to do on a connection. An error ends the script.
type Step func(c *ScriptConn) error

// ScriptConn is a connection under a script.
type ScriptConn struct {
	tcp  *net.TCPConn
	in   *bufio.Reader
	stop <-chan struct{}
	log  func(string)
}

// ReadHead waits for a whole request head.
func ReadHead() Step { return func(c *ScriptConn) error { _, err := c.readHead(); return err } }

// ReadRequest waits for a request head and a body of its Content-Length, or in chunks without trailers.
func ReadRequest() Step {
	return func(c *ScriptConn) error {
		head, err := c.readHead()
		if err != nil {
			return err
		}
		return c.readBody(head)
	}
}

// Send writes text.
func Send(text string) Step {
	return func(c *ScriptConn) error { _, err := io.WriteString(c.tcp, text); return err }
}

// SendIn writes text in pieces of n bytes, with a pause between them so that they travel apart.
func SendIn(n int, pause time.Duration, text string) Step {
	return func(c *ScriptConn) error {
		for rest := text; len(rest) > 0; { // text itself stays: steps are repeated and shared
			piece := rest[:min(n, len(rest))]
			if _, err := io.WriteString(c.tcp, piece); err != nil {
				return err
			}
			rest = rest[len(piece):]
			if err := c.wait(time.After(pause)); err != nil {
				return err
			}
		}
		return nil
	}
}

// Respond writes a 200 with body and its Content-Length.
func Respond(body string) Step {
	return Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

// Close ends the connection in order; unread input makes the kernel reset it instead.
func Close() Step { return func(c *ScriptConn) error { return c.tcp.Close() } }

// CloseWrite ends the outgoing stream only.
func CloseWrite() Step { return func(c *ScriptConn) error { return c.tcp.CloseWrite() } }

// Reset ends the connection with a RST.
func Reset() Step {
	return func(c *ScriptConn) error { return errors.Join(c.tcp.SetLinger(0), c.tcp.Close()) }
}

// Stall does nothing until the peer ends the connection or the server stops; what arrives is dropped.
func Stall() Step {
	return func(c *ScriptConn) error {
		_, err := io.Copy(io.Discard, c.in)
		return err
	}
}

// StallUnread does nothing and reads nothing until the server stops, so that the peer's writes block.
func StallUnread() Step { return func(c *ScriptConn) error { return c.wait(nil) } }

// Await waits until ch is closed or delivers.
func Await(ch <-chan struct{}) Step {
	return func(c *ScriptConn) error {
		select {
		case <-ch:
			return nil
		case <-c.stop:
			return net.ErrClosed
		}
	}
}

// Repeat does the steps again and again until one fails.
func Repeat(steps ...Step) Step {
	return func(c *ScriptConn) error {
		for {
			for _, s := range steps {
				if err := s(c); err != nil {
					return err
				}
			}
		}
	}
}

func (c *ScriptConn) wait(ch <-chan time.Time) error {
	select {
	case <-ch:
		return nil
	case <-c.stop:
		return net.ErrClosed
	}
}

// maxScriptHead bounds a request head.
const maxScriptHead = 256 << 10

func (c *ScriptConn) readHead() (string, error) {
	var head strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			c.log(head.String())
			return "", err
		}
		if line == "\r\n" || head.Len() > maxScriptHead {
			c.log(head.String())
			return head.String(), nil
		}
	}
}

func (c *ScriptConn) readBody(head string) error {
	length, chunked := int64(0), false
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return fmt.Errorf("content-length: %w", err)
			}
			length = n
		case "transfer-encoding":
			chunked = true
		}
	}
	for {
		if chunked {
			line, err := c.in.ReadString('\n')
			if err != nil {
				return err
			}
			if length, err = strconv.ParseInt(strings.TrimSpace(line), 16, 64); err != nil {
				return fmt.Errorf("chunk size: %w", err)
			}
		}
		var body strings.Builder
		_, err := io.CopyN(&body, c.in, length)
		c.log(body.String())
		if err != nil || !chunked {
			return err
		}
		if _, err := c.in.Discard(2); err != nil || length == 0 {
			return err
		}
	}
}

// Scripted is a raw server: its first connection follows the first script, and so on; the last script
// serves all that come later. Its methods may be called from any goroutine.
type Scripted struct {
	ln      net.Listener
	scripts []Script
	stop    chan struct{}
	done    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	received []string // by connection: heads and bodies as they were read by steps
	accepted chan struct{}
}

// NewScripted starts a scripted server on a free loopback port. Without scripts it stalls.
func NewScripted(scripts ...Script) (*Scripted, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if len(scripts) == 0 {
		scripts = []Script{{Stall()}}
	}
	s := &Scripted{
		ln: ln, scripts: scripts, stop: make(chan struct{}),
		conns: map[net.Conn]struct{}{}, accepted: make(chan struct{}),
	}
	s.done.Add(1)
	go s.accept()
	return s, nil
}

// Addr returns where it listens.
func (s *Scripted) Addr() string { return s.ln.Addr().String() }

// Received returns what the steps have read on each connection so far, in the order of acceptance.
func (s *Scripted) Received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.received...)
}

// AwaitConns waits until n connections have been accepted in all.
func (s *Scripted) AwaitConns(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		have, next := len(s.received), s.accepted
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("%d connections of %d: %w", have, n, ctx.Err())
		}
	}
}

// Stop closes everything and waits for the scripts to end.
func (s *Scripted) Stop() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	_ = s.ln.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *Scripted) accept() {
	defer s.done.Done()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		select {
		case <-s.stop:
			s.mu.Unlock()
			_ = c.Close()
			return
		default:
		}
		i := len(s.received)
		s.received = append(s.received, "")
		s.conns[c] = struct{}{}
		s.done.Add(1)
		close(s.accepted)
		s.accepted = make(chan struct{})
		s.mu.Unlock()
		go s.play(i, c)
	}
}

func (s *Scripted) play(i int, c net.Conn) {
	defer s.done.Done()
	sc := &ScriptConn{tcp: c.(*net.TCPConn), in: bufio.NewReader(c), stop: s.stop, log: func(text string) {
		s.mu.Lock()
		s.received[i] += text
		s.mu.Unlock()
	}}
	for _, step := range s.scripts[min(i, len(s.scripts)-1)] {
		if step(sc) != nil {
			break
		}
	}
	_ = c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}
