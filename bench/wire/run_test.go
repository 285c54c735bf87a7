package wire

import (
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"
)

// listenOn serves each connection to a target in this process with handle.
func listenOn(name string, handle func(c net.Conn, origin string)) Target {
	return Target{Name: name, Start: func(_, origin string) (string, func(), error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go handle(c, origin)
			}
		}()
		return l.Addr().String(), func() { l.Close() }, nil
	}}
}

// blind relays bytes without looking at them: the worst proxy that still works.
var blind = listenOn("blind", func(c net.Conn, origin string) {
	defer c.Close()
	up, err := net.Dial("tcp", origin)
	if err != nil {
		return
	}
	go func() {
		io.Copy(up, c)
		up.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, up)
	up.Close()
})

// reverse is the standard library's reverse proxy.
var reverse = Target{Name: "reverse", Start: func(_, origin string) (string, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: origin})
	transport := &http.Transport{}
	p.Transport = transport
	s := &http.Server{Handler: p}
	go s.Serve(l)
	return l.Addr().String(), func() {
		s.Close()
		transport.CloseIdleConnections()
	}, nil
}}

func runText(t *testing.T, target Target, text string, opt Options) []Result {
	t.Helper()
	cases, err := Parse("t.txt", text)
	if err != nil {
		t.Fatal(err)
	}
	return Run(target, cases, opt)
}

// TestRunnerSees has each kind of finding come up against a proxy that is known to deserve it.
func TestRunnerSees(t *testing.T) {
	deaf := listenOn("deaf", func(net.Conn, string) {})
	const head = "case x\nrule R\nsays S.\n> GET /x HTTP/1.1\n> Host: a\n>\n"
	for _, row := range []struct {
		says   string
		target Target
		text   string
		want   string
	}{
		{"nothing, when all holds", blind, head + "forwards GET /x\n  with host: a\ngets 200\n  body ok\nstays open\n", ""},
		{"nothing, when all holds over a real proxy", reverse, head + "forwards GET /x\ngets 200\n  body ok\nstays open\n", ""},
		{"a wrong status", blind, head + "forwards GET /x\ngets 400\n", "client: got 200, want 400"},
		{"a wrong body", blind, head + "forwards GET /x\ngets 200\n  body no\n", `body "ok", want "no"`},
		{"a missing field", blind, head + "forwards GET /x\ngets 200\n  with x-a: 1\n", "field x-a is []"},
		{"a field too many", blind, head + "forwards GET /x\n  without host\ngets 200\n", `field host is ["a"], want none`},
		{"a connection left open", blind, head + "forwards GET /x\ngets 200\ncloses\n", "it stays open"},
		{"a connection closed", blind, head + "origin closes\nforwards GET /x\ngets 200\n", "the end of the connection"},
		{"a request let through", blind, head + "origin gets nothing\ngets 200\n", "origin: wants nothing, got"},
		{"a request kept back", reverse, strings.Replace(head, "Host: a", "Host: a b", 1) + "forwards GET /x\ngets 400\n", "request 1: missing"},
		{"a request too many", blind, head + "> GET /y HTTP/1.1\n> Host: a\n>\nforwards GET /x\ngets 200\n", "one request too many"},
		{"another target", blind, head + "forwards GET /y\ngets 200\n", `first line "GET /x", want "GET /y"`},
		{"a response too many", blind, head + "< HTTP/1.1 200 OK\n< Content-Length: 1\n<\n< xHTTP/1.1 200 OK\n< Content-Length: 1\n<\n< y\\\nforwards GET /x\ngets 200\nstays open\n", `body "y"`},
		{"an ambiguous request, whatever the case says", blind, strings.Replace(head, "Host: a\n>", "Host: a\n> Content-Length: 1\n> Content-Length: 1\n>\n> x\\", 1) + "forwards GET /x\ngets 200\n", "2 content-length fields"},
		{"a body cut short", blind, head + "< HTTP/1.1 200 OK\n< Content-Length: 9\n<\n< x\\\norigin closes\nforwards GET /x\ngets 200\n", "cut short"},
		{"a body not cut short", blind, head + "forwards GET /x\ngets 200 cut\n", "want it cut short"},
		{"the same connection, for a new one", reverse, head + "gets 200\n> GET /y HTTP/1.1\n> Host: a\n>\nforwards GET /x\nforwards GET /y\n  on a new connection\ngets 200\n", "came on connection 1 after connection 1"},
		{"silence", deaf, head + "origin gets nothing\ngets 200\n", "nothing more in time"},
		{"a proxy that serves nobody any more", deaf, head + "client resets\norigin gets nothing\n", "does not serve a new client"},
	} {
		t.Run(row.says, func(t *testing.T) {
			t.Parallel()
			timeout := 3 * time.Second
			if row.target.Name == "deaf" || strings.Contains(row.want, "stays open") {
				timeout = 200 * time.Millisecond
			}
			r := runText(t, row.target, row.text, Options{Timeout: timeout})[0]
			all := strings.Join(r.Bad, "\n")
			if row.want == "" && (all != "" || r.Outcome != Pass) {
				t.Errorf("outcome %s:\n%s", r.Outcome, all)
			}
			if row.want != "" && (!strings.Contains(all, row.want) || r.Outcome != Fails) {
				t.Errorf("outcome %s, want %q in:\n%s", r.Outcome, row.want, all)
			}
		})
	}
}

// TestRunnerSeesADesynchronisedPool: a proxy that puts every client on one upstream connection and
// believes in lengths only. The rest of the first client's bytes become part of the next request.
func TestRunnerSeesADesynchronisedPool(t *testing.T) {
	var up net.Conn
	lock := make(chan struct{}, 1)
	shared := listenOn("shared", func(c net.Conn, origin string) {
		lock <- struct{}{}
		defer func() { <-lock }()
		defer c.Close()
		if up == nil {
			up, _ = net.Dial("tcp", origin)
		}
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		up.Write(buf[:n])
		up.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, _ = up.Read(buf)
		c.Write(buf[:n])
	})
	r := runText(t, shared, `case x
rule R
says S.
> POST /x HTTP/1.1
> Host: a
> Content-Length: 300
>
> short\
client shuts
origin completes nothing
`, Options{Timeout: time.Second})[0]
	all := strings.Join(r.Bad, "\n")
	if r.Outcome != Fails || !strings.Contains(all, "does not serve a new client") || !strings.Contains(all, "never saw the request") {
		t.Errorf("outcome %s:\n%s", r.Outcome, all)
	}
}

func TestRunnerCutsBytes(t *testing.T) {
	const text = "case x\nrule R\nsays S.\n> POST /x HTTP/1.1\n> Host: a\n> Content-Length: 5\n>\n> hello\\\nforwards POST /x\n  body hello\ngets 200\nstays open\n"
	for _, cut := range []int{1, 7} {
		if r := runText(t, blind, text, Options{Cut: cut})[0]; r.Outcome != Pass {
			t.Errorf("cut %d: %s", cut, r)
		}
	}
}

func TestListedDifferences(t *testing.T) {
	const good = "case x\nrule R\nsays S.\n> GET /x HTTP/1.1\n> Host: a\n>\nforwards GET /x\ngets 200\n"
	bad := strings.Replace(good, "gets 200", "gets 400", 1)
	asNginx := Target{Name: "nginx", Start: blind.Start}
	for _, row := range []struct {
		says, text string
		want       Outcome
	}{
		{"a difference that is listed is one", bad + "nginx differs: so\n", Differs},
		{"a difference of another peer is not ours", bad + "haproxy differs: so\n", Fails},
		{"a listed difference that is gone is stale", good + "nginx differs: so\n", Stale},
		{"one that varies is not", good + "nginx varies: so\n", Pass},
		{"one that varies may show", bad + "nginx varies: so\n", Differs},
	} {
		t.Run(row.says, func(t *testing.T) {
			if r := runText(t, asNginx, row.text, Options{})[0]; r.Outcome != row.want {
				t.Errorf("%s, want %s", r, row.want)
			}
		})
	}
}

// TestOriginTakesInWhatHasArrived: bytes in a socket, and a connection nobody accepted yet, count.
func TestOriginTakesInWhatHasArrived(t *testing.T) {
	o, err := newOrigin("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	for round := range 3 {
		o.begin(nil)
		var conns []net.Conn
		for range 3 {
			c, err := net.Dial("tcp", o.addr())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET /half")
		}
		seen, _, err := o.end()
		if err != nil {
			t.Fatal(err)
		}
		whole, half := 0, 0
		for _, m := range seen {
			switch {
			case m.line == "GET /smuggled HTTP/1.1" && !m.cut:
				whole++
			case m.line == "GET /half" && m.cut:
				half++
			}
		}
		if whole != 3 || half != 3 {
			t.Fatalf("round %d: %d whole and %d half requests, want 3 of each", round, whole, half)
		}
		for _, c := range conns {
			c.Close()
		}
	}
}
