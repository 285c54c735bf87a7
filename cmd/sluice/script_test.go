package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluiceproxy/sluice/bench/origin"
)

// patience bounds every wait of a script.
const patience = 20 * time.Second

// scriptCommands are what scripts have beside testscript's commands:
//
//	origin                   start an origin; $ORIGIN is its address, $ORIGIN_PORT its port
//	freeport                 $PORT is a port nobody listens on
//	takenport                $PORT is a port that is listened on
//	expand FROM TO           copy a file with its $NAMEs replaced
//	live FILE                wait for the proxy whose --admin-address-path is FILE; $ADMIN is that
//	                         address, and for a listener called "in" $IN is where it listens
//	fetch URL                GET; prints the status, "new" or "reused" for the connection, and the body
//	post URL                 the same with POST
//	await URL REGEXP         fetch until the output matches
//	awaitfile FILE REGEXP    wait until a file's text matches
//	refused ADDRESS          wait until connections are refused
//	hold URL                 begin a fetch and go on
//	held                     wait for what hold began and print it
//	signal NAME              send a signal to the process in the background
//
// URLs have no http://; one that begins with "unix:" is SOCKET:/path.
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"origin": scriptOrigin, "freeport": scriptFreePort, "takenport": scriptTakenPort, "expand": scriptExpand, "live": scriptLive,
	"fetch": scriptFetch, "post": scriptPost, "await": scriptAwait, "awaitfile": scriptAwaitFile,
	"refused": scriptRefused, "hold": scriptHold, "held": scriptHeld, "signal": scriptSignal,
}

type clientKeyType struct{}

var clientKey clientKeyType

// scriptClient is a script's HTTP client with its keep-alive connections.
type scriptClient struct {
	http *http.Client
	held chan string
}

func newScriptClient(e *testscript.Env) *scriptClient {
	c := &scriptClient{held: make(chan string, 1)}
	c.http = &http.Client{
		Timeout: patience,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			if path, ok := ctx.Value(clientKey).(string); ok {
				return d.DialContext(ctx, "unix", path)
			}
			return d.DialContext(ctx, network, addr)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	e.Defer(c.http.CloseIdleConnections)
	return c
}

func client(ts *testscript.TestScript) *scriptClient { return ts.Value(clientKey).(*scriptClient) }

func (c *scriptClient) do(method, url string) (string, error) {
	ctx := context.Background()
	if rest, ok := strings.CutPrefix(url, "unix:"); ok {
		socket, path, _ := strings.Cut(rest, ":")
		ctx, url = context.WithValue(ctx, clientKey, socket), "socket"+path
	}
	conn := "new"
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if i.Reused {
			conn = "reused"
		}
	}})
	req, err := http.NewRequestWithContext(ctx, method, "http://"+url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s\n%s", resp.StatusCode, conn, body), err
}

func usage1(ts *testscript.TestScript, neg bool, args []string, n int, what string) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", what)
	}
}

func scriptOrigin(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 0, "origin")
	o, err := origin.New(origin.Options{})
	ts.Check(err)
	ts.Defer(o.Stop)
	_, port, _ := net.SplitHostPort(o.Addr().String())
	ts.Setenv("ORIGIN", o.Addr().String())
	ts.Setenv("ORIGIN_PORT", port)
}

func scriptFreePort(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 0, "freeport")
	listenOnce(ts).Close()
}

func scriptTakenPort(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 0, "takenport")
	l := listenOnce(ts)
	ts.Defer(func() { l.Close() })
}

func listenOnce(ts *testscript.TestScript) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Setenv("PORT", port)
	return l
}

func scriptExpand(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 2, "expand FROM TO")
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// until polls f, which returns what it saw.
func until(ts *testscript.TestScript, what string, f func() (saw string, ok bool)) {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		saw, ok := f()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("timed out: %s; last: %s", what, saw)
		}
	}
}

func scriptLive(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 1, "live FILE")
	var addr string
	until(ts, "the proxy is live", func() (string, bool) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil || len(b) == 0 {
			return "no address", false
		}
		addr = string(b)
		out, err := client(ts).do("GET", addr+"/ready")
		return out, err == nil && strings.HasSuffix(out, "LIVE\n")
	})
	ts.Setenv("ADMIN", addr)
	list, err := client(ts).do("GET", addr+"/listeners")
	ts.Check(err)
	for _, line := range strings.Split(list, "\n") {
		if name, where, ok := strings.Cut(line, "::"); ok {
			ts.Setenv(strings.ToUpper(name), where)
		}
	}
}

func scriptFetch(ts *testscript.TestScript, neg bool, args []string) { request(ts, neg, "GET", args) }
func scriptPost(ts *testscript.TestScript, neg bool, args []string)  { request(ts, neg, "POST", args) }

func request(ts *testscript.TestScript, neg bool, method string, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] fetch URL")
	}
	out, err := client(ts).do(method, args[0])
	if (err != nil) != neg {
		ts.Fatalf("%s %s: %v %s", method, args[0], err, out)
	}
	fmt.Fprint(ts.Stdout(), out)
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 2, "await URL REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	until(ts, args[0]+" matches "+args[1], func() (string, bool) {
		out, err := client(ts).do("GET", args[0])
		return out + fmt.Sprint(err), err == nil && re.MatchString(out)
	})
}

func scriptAwaitFile(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 2, "awaitfile FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	until(ts, args[0]+" matches "+args[1], func() (string, bool) {
		b, _ := os.ReadFile(ts.MkAbs(args[0]))
		return string(b), re.Match(b)
	})
}

func scriptRefused(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 1, "refused ADDRESS")
	until(ts, args[0]+" refuses", func() (string, bool) {
		c, err := net.Dial("tcp", args[0])
		if err == nil {
			c.Close()
		}
		return fmt.Sprint(err), errors.Is(err, syscall.ECONNREFUSED)
	})
}

func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 1, "hold URL")
	c := client(ts)
	go func() {
		out, err := c.do("GET", args[0])
		if err != nil {
			out = err.Error()
		}
		c.held <- out
	}()
}

func scriptHeld(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 0, "held")
	select {
	case out := <-client(ts).held:
		fmt.Fprint(ts.Stdout(), out)
	case <-time.After(patience):
		ts.Fatalf("no answer")
	}
}

var scriptSignals = map[string]os.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1,
}

func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage1(ts, neg, args, 1, "signal NAME")
	running := ts.BackgroundCmds()
	sig, known := scriptSignals[args[0]]
	if len(running) != 1 || !known {
		ts.Fatalf("signal %s to %d processes", args[0], len(running))
	}
	ts.Check(running[0].Process.Signal(sig))
}
