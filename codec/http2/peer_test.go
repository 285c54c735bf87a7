package http2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/codec/header"
)

// plain is net/http without TLS and without HTTP/1.
func plain() *http.Protocols {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &p
}

func netClient(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: plain(), ExpectContinueTimeout: 10 * time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i>>3 + i)
	}
	return b
}

func TestNetHTTPAsTheClient(t *testing.T) {
	s := serve(t, func(o *Options) { o.InitialStreamWindow, o.InitialConnWindow = 65535, 1<<17 })
	client := netClient(t)
	url := "http://" + s.addr
	get := func(t *testing.T, path string) (*http.Response, []byte) {
		t.Helper()
		r, err := client.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r, b
	}
	t.Run("GET", func(t *testing.T) {
		r, b := get(t, "/hello")
		if r.ProtoMajor != 2 || r.StatusCode != 200 || string(b) != "hello" || r.Header.Get("server") != "tiny" {
			t.Errorf("%v %s", r, b)
		}
	})
	t.Run("a large response", func(t *testing.T) {
		if _, b := get(t, "/bytes/5000000"); len(b) != 5_000_000 {
			t.Errorf("%d bytes", len(b))
		}
	})
	t.Run("a large body both ways, with trailers", func(t *testing.T) {
		want := body(3_000_000)
		req, _ := http.NewRequest("POST", url+"/echo", io.NopCloser(bytes.NewReader(want)))
		req.Header.Set("TE", "trailers")
		req.Trailer = http.Header{"X-Check": {"1"}}
		r, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
		if r.Trailer.Get("x-sum") != "3000000" {
			t.Errorf("trailers %v", r.Trailer)
		}
	})
	t.Run("100 Continue", func(t *testing.T) {
		req, _ := http.NewRequest("POST", url+"/echo", strings.NewReader("abc"))
		req.Header.Set("Expect", "100-continue")
		r, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, _ := io.ReadAll(r.Body); string(b) != "abc" {
			t.Errorf("%s", b)
		}
	})
	t.Run("a reset", func(t *testing.T) {
		r, err := client.Get(url + "/reset")
		if err == nil {
			_, err = io.ReadAll(r.Body)
			r.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a response before the request has ended (HC-72)", func(t *testing.T) {
		in, out := io.Pipe()
		defer out.Close()
		r, err := client.Post(url+"/early", "", in)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if _, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 413 {
			t.Errorf("%d, %v", r.StatusCode, err)
		}
	})
	t.Run("the client gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		in, out := io.Pipe()
		defer out.Close()
		req, _ := http.NewRequestWithContext(ctx, "POST", url+"/echo", in)
		r, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		r.Body.Close()
		get(t, "/hello")
	})
	t.Run("GOAWAY, and another connection", func(t *testing.T) {
		for range 5 {
			if _, b := get(t, "/goaway"); string(b) != "hello" {
				t.Errorf("%s", b)
			}
		}
	})
	t.Run("1,000 requests side by side", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				want := body(i * 7)
				r, err := client.Post(url+"/echo", "", bytes.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, want) {
					t.Errorf("request %d: %d bytes, %v", i, len(got), err)
				}
			})
		}
		wg.Wait()
	})
}

// netServer is a net/http server.
func netServer(t *testing.T) (addr string, srv *http.Server) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		h := sha256.New()
		io.Copy(w, io.TeeReader(r.Body, h))
		w.Header().Set("X-Sum", fmt.Sprintf("%x/%s", h.Sum(nil), r.Trailer.Get("X-Own")))
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.WriteHeader(204)
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "x")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/cookies", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Cookie")+r.Host) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv = &http.Server{Handler: mux, Protocols: plain()}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String(), srv
}

// netConn is our side as a client: each exchange is a script of what to send, and collects what comes.
type netConn struct {
	c       Conn
	ws      Workspace
	o       Options
	sends   map[*Stream]*sending
	log     []string
	pongs   int
	goAways int
	left    int // exchanges under way
}

type sending struct {
	name           string
	head, trailers header.Head
	body           []byte
	withTrailers   bool
	got            bytes.Buffer
	interim        []uint16
	status         uint16
}

func (n *netConn) HeadFor(st *Stream, b Block) *header.Head {
	if b == TrailerBlock {
		return &n.sends[st].trailers
	}
	return &n.sends[st].head
}

func (n *netConn) request(t *testing.T, head string, body []byte, trailers bool) *sending {
	t.Helper()
	x := &sending{name: head, body: body, withTrailers: trailers}
	st := n.c.Open(headOf(head), body == nil)
	if st == nil {
		t.Fatal("no stream")
	}
	n.sends[st] = x
	n.left++
	if body != nil {
		n.pump(st)
	}
	return x
}

func (n *netConn) pump(st *Stream) {
	x := n.sends[st]
	k := n.c.WriteData(st, x.body, !x.withTrailers)
	if x.body = x.body[k:]; len(x.body) == 0 && x.withTrailers {
		n.c.WriteTrailers(st, headOf("200 x-own=mine"))
	}
}

func (n *netConn) OnHeaders(st *Stream, h *header.Head, end bool) {
	x := n.sends[st]
	if h.Status < 200 {
		x.interim = append(x.interim, h.Status)
		return
	}
	h.Retain()
	x.status = h.Status
	if end {
		n.over(st)
	}
}

func (n *netConn) OnData(st *Stream, p []byte, end bool) {
	n.sends[st].got.Write(p)
	n.c.Consumed(st, len(p))
	if end {
		n.over(st)
	}
}

func (n *netConn) OnTrailers(st *Stream, t *header.Head) {
	t.Retain()
	n.over(st)
}

func (n *netConn) OnReset(st *Stream, code ErrCode, e Err) {
	n.log = append(n.log, fmt.Sprintf("%s: %s %s", n.sends[st].name, code, e))
	n.over(st)
}

func (n *netConn) over(st *Stream) {
	delete(n.sends, st)
	n.left--
	n.c.Release(st)
}
func (n *netConn) OnWindow(st *Stream)      { n.pump(st) }
func (n *netConn) OnGoAway(uint32, ErrCode) { n.goAways++ }
func (n *netConn) OnPong(uint64)            { n.pongs++ }
func (n *netConn) OnSettings()              {}
func (n *netConn) OnCount(Counter)          {}

func TestNetHTTPAsTheServer(t *testing.T) {
	addr, srv := netServer(t)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	n := &netConn{o: DefaultOptions(), sends: map[*Stream]*sending{}}
	n.o.InitialStreamWindow, n.o.InitialConnWindow = 65535, 1<<17
	n.c.Init(true, &n.o, &n.ws, n)
	// Bodies are written while the peer writes too: only so much at a time fits between reads.
	wait := func(over func() bool) {
		t.Helper()
		if e := drive(nc, &n.c, over); e != OK {
			t.Fatalf("%s", e.Explain())
		}
	}
	idle := func() bool { return n.left == 0 }

	hello := n.request(t, "GET http a.b /hello x-a=b", nil, false)
	hints := n.request(t, "GET http a.b /hints", nil, false)
	head := n.request(t, "HEAD http a.b /hello", nil, false)
	cookies := n.request(t, "GET http a.b:1 /cookies cookie=a=b;c=d", nil, false)
	want := body(2_000_000)
	echo := n.request(t, "POST http a.b /echo te=trailers trailer=x-own", want, true)
	abort := n.request(t, "GET http a.b /abort", nil, false)
	n.c.Ping(7)
	wait(func() bool { return n.left == 0 && n.pongs == 1 })
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"GET", fmt.Sprint(hello.status, hello.got.String()), "200hello"},
		{"interim", fmt.Sprint(hints.interim, hints.status), "[103] 204"},
		{"HEAD", fmt.Sprint(head.status, head.got.Len(), head.head.ContentLength), "200 0 5"},
		{"cookie and authority", cookies.got.String(), "a=b;c=da.b:1"},
		{"the body", bytes.Equal(echo.got.Bytes(), want), true},
		{"the trailers", string(echo.trailers.Bytes(echo.trailers.Fields[0].Value)), fmt.Sprintf("%x/mine", sha256.Sum256(want))},
		{"the handler's panic", strings.Join(n.log, ""), abort.name + ": INTERNAL_ERROR http2.remote_reset"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, tc.got, tc.want)
		}
	}

	// 1,000 streams, as many at once as the server takes.
	n.log = nil
	done := 0
	wait(func() bool {
		for done < 1000 && n.c.CanOpen() {
			n.request(t, "POST http a.b /echo", body(done*3+1), false)
			done++
		}
		return done == 1000 && n.left == 0
	})
	if len(n.log) > 0 {
		t.Errorf("%v", n.log)
	}

	// A graceful end: GOAWAY comes, what is under way is served.
	last := n.request(t, "GET http a.b /hello", nil, false)
	wait(idle)
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		stopped <- srv.Shutdown(ctx)
	}()
	wait(func() bool { return n.goAways > 0 })
	if last.status != 200 || n.c.CanOpen() {
		t.Errorf("status %d, can open %v", last.status, n.c.CanOpen())
	}
	nc.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// tool finds a program; without it the test is skipped, but not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func TestNghttp(t *testing.T) {
	path := tool(t, "nghttp")
	s := serve(t, nil)
	out, err := exec.Command(path, "-v", "--no-dep", "-H", "x-own: 1", "http://"+s.addr+"/hello", "http://"+s.addr+"/bytes/100000").CombinedOutput()
	if err != nil || strings.Count(string(out), ":status: 200") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = exec.Command(path, "-v", "--header-table-size=0", "--encoder-header-table-size=0", "-w14", "-W14", "http://"+s.addr+"/bytes/100000").CombinedOutput()
	if err != nil || !strings.Contains(string(out), ":status: 200") {
		t.Errorf("without tables and with small windows: %v\n%s", err, out)
	}
	// An upload with padding, CONTINUATION and trailers.
	file := filepath.Join(t.TempDir(), "body")
	want := body(300_000)
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = exec.Command(path, "--continuation", "-b", "200", "-d", file, "--trailer", "x-check: 1", "http://"+s.addr+"/echo").Output()
	if err != nil || !bytes.Equal(out, want) {
		t.Errorf("an upload: %v, %d bytes came back", err, len(out))
	}
}

func TestH2load(t *testing.T) {
	path := tool(t, "h2load")
	s := serve(t, nil)
	for _, args := range [][]string{
		{"-n2000", "-c8", "-m16", "/hello"},
		{"-n200", "-c4", "-m8", "-w14", "-W15", "/bytes/70000"},
		{"-n200", "-c4", "-m8", "-H", "cookie: a=0123456789abcdef0123456789abcdef", "/hello"},
	} {
		n := strings.TrimPrefix(args[0], "-n")
		args[len(args)-1] = "http://" + s.addr + args[len(args)-1]
		out, err := exec.Command(path, args...).CombinedOutput()
		if want, _ := strconv.Atoi(n); err != nil || !strings.Contains(string(out), fmt.Sprintf("%d succeeded, 0 failed", want)) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// TestPeersConfirmASmallerTable: all of them begin with 4096 and must announce that they shrink.
func TestPeersConfirmASmallerTable(t *testing.T) {
	for _, size := range []uint32{0, 100} {
		s := serve(t, func(o *Options) { o.TableSize = size })
		client := netClient(t)
		for i := range 5 {
			r, err := client.Get(fmt.Sprintf("http://%s/hello?%d", s.addr, i%2))
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
		}
		if path, err := exec.LookPath("h2load"); err == nil {
			out, err := exec.Command(path, "-n200", "-c2", "-m4", "http://"+s.addr+"/hello").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "200 succeeded, 0 failed") {
				t.Errorf("table of %d: %v\n%s", size, err, out)
			}
		}
	}
}
