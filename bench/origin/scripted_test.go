package origin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func scripted(t *testing.T, scripts ...Script) *Scripted {
	t.Helper()
	s, err := NewScripted(scripts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestScripts(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for _, tc := range []struct {
		name   string
		script Script
		wire   string
		want   string
		reset  bool
	}{
		{"answers and closes", Script{ReadRequest(), Respond("ok"), Close()}, get, ok, false},
		{"dies in the middle of the head", Script{ReadHead(), Send("HTTP/1.1 200 OK\r\nConte")}, get, "HTTP/1.1 200 OK\r\nConte", false},
		{
			"dies in the middle of the body",
			Script{ReadHead(), Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Close()},
			get,
			"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false,
		},
		{"resets after accepting", Script{Reset()}, "", "", true},
		{"resets after the request", Script{ReadHead(), Reset()}, get, "", true},
		{"answers before the body came", Script{ReadHead(), Respond("ok"), CloseWrite(), Stall()}, "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", ok, false},
		{"sends garbage", Script{Send("\x00\x01garbage"), CloseWrite(), Stall()}, get, "\x00\x01garbage", false},
		{"dribbles", Script{ReadHead(), SendIn(3, time.Millisecond, ok)}, get, ok, false},
		{"goes on for several requests", Script{Repeat(ReadRequest(), Respond("ok"))}, get + get, ok + ok, false},
		{"reads a body in chunks", Script{ReadRequest(), Respond("ok")}, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ok, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := scripted(t, tc.script)
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				if !tc.reset { // a reset may come before connecting is over
					t.Fatal(err)
				}
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if tc.wire != "" { // writing nothing would take the error that reading is to find
				_, _ = io.WriteString(c, tc.wire)
			}
			if !tc.reset {
				_ = c.(*net.TCPConn).CloseWrite()
			}
			got, err := io.ReadAll(c)
			if string(got) != tc.want || (err != nil) != tc.reset {
				t.Errorf("got %q (%v), want %q, reset %t", got, err, tc.want, tc.reset)
			}
		})
	}
}

func TestEachConnectionHasItsScriptAndTheLastServesTheRest(t *testing.T) {
	s := scripted(t, Script{ReadHead(), Reset()}, Script{ReadRequest(), Respond("second")}, Script{ReadRequest(), Respond("later")})
	for i, want := range []string{"", "second", "later", "later"} {
		got, _ := raw(t, s.Addr(), get, false)
		if !strings.HasSuffix(got, want) || (want == "") != (got == "") {
			t.Errorf("connection %d: %q, want %q at its end", i, got, want)
		}
	}
	for i, r := range s.Received() {
		if r != get {
			t.Errorf("connection %d received %q", i, r)
		}
	}
}

func TestReceivedHasBodies(t *testing.T) {
	s := scripted(t, Script{ReadRequest(), Respond("")})
	wire := "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
	if _, err := raw(t, s.Addr(), wire, false); err != nil {
		t.Fatal(err)
	}
	if got := s.Received(); len(got) != 1 || got[0] != wire {
		t.Errorf("received %q", got)
	}
}

func TestAStalledServerStillStops(t *testing.T) {
	release := make(chan struct{})
	s := scripted(t, Script{Stall()}, Script{StallUnread()}, Script{Await(release)})
	var conns []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.AwaitConns(ctx, 3); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection outlived its server")
		}
		_ = c.Close()
	}
}

func TestAwaitConnsEndsWithItsContext(t *testing.T) {
	s := scripted(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AwaitConns(ctx, 1); err == nil {
		t.Error("no error though nobody came")
	}
}

func TestRefuse(t *testing.T) {
	addr, release, err := Refuse()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("the connection was accepted")
	}
}

func TestAStepSendsTheSameEachTime(t *testing.T) {
	s := scripted(t, Script{Repeat(ReadHead(), SendIn(4, time.Millisecond, "HTTP/1.1 204 No Content\r\n\r\n"))})
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for i := range 2 {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 204 {
			t.Fatalf("answer %d: %v, %v", i, resp, err)
		}
	}
}
