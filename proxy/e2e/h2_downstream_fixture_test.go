//lint:file-ignore SA1019 the HTTP/2 of x/net is the peer

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// serveH2 starts a topology's proxy after change had a look at its connection manager; nil leaves
// codec_type AUTO and the defaults.
func serveH2(t testing.TB, top harness.Topology, change func(m *conf.HTTPConnectionManager)) *harness.Proxy {
	t.Helper()
	log := filepath.Join(t.TempDir(), "access.log")
	c := harness.Load(t, top.YAML(log))
	m := c.Listeners[0].FilterChains[0].HTTP
	m.CodecType = conf.CodecAuto
	if change != nil {
		change(m)
	}
	var origins []harness.Origin
	for _, k := range top.Clusters {
		origins = append(origins, k.Origins...)
	}
	return harness.StartConf(t, c, max(1, top.Loops), log, origins...)
}

// clientH2 is a client of prior knowledge: every request goes over one connection.
func clientH2(t testing.TB) *http.Client {
	var d net.Dialer
	tr := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
		DisableCompression: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: harness.Patience}
}

// answerH2 is a whole response.
type answerH2 struct {
	status   int
	header   http.Header
	trailer  http.Header
	body     []byte
	protocol string
}

// askH2 sends one request; fields are "name: value".
func askH2(c *http.Client, method, url string, body io.Reader, fields ...string) (*answerH2, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%d, body after %d bytes: %w", resp.StatusCode, len(got), err)
	}
	return &answerH2{resp.StatusCode, resp.Header, resp.Trailer, got, resp.Proto}, nil
}

func mustAskH2(t testing.TB, c *http.Client, method, url string, body io.Reader, fields ...string) *answerH2 {
	t.Helper()
	a, err := askH2(c, method, url, body, fields...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// h2Wire is a client that writes frames as told and shows what comes back as lines.
type h2Wire struct {
	t    testing.TB
	Conn *net.TCPConn
	*http2.Framer
	enc  *hpack.Encoder
	text bytes.Buffer
	dec  *hpack.Decoder
}

// dialH2 connects and sends the preface with the given settings. It acknowledges the proxy's.
func dialH2(t testing.TB, p *harness.Proxy, settings ...http2.Setting) *h2Wire {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr, harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := &h2Wire{t: t, Conn: c.(*net.TCPConn), Framer: http2.NewFramer(c, c)}
	w.SetMaxReadFrameSize(1 << 20)
	w.enc = hpack.NewEncoder(&w.text)
	w.dec = hpack.NewDecoder(4096, nil)
	w.deadline()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	w.must(w.WriteSettings(settings...))
	w.must(w.WriteSettingsAck())
	return w
}

func (w *h2Wire) deadline() { _ = w.Conn.SetDeadline(time.Now().Add(harness.Patience)) }

func (w *h2Wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// block encodes "name=value" words.
func (w *h2Wire) block(words ...string) []byte {
	w.text.Reset()
	for _, word := range words {
		i := strings.IndexByte(word[1:], '=') + 1
		w.must(w.enc.WriteField(hpack.HeaderField{Name: word[:i], Value: word[i+1:]}))
	}
	return w.text.Bytes()
}

// request sends a head: method, path and "name=value" words.
func (w *h2Wire) request(id uint32, end bool, method, path string, words ...string) {
	w.t.Helper()
	w.deadline()
	words = append([]string{":method=" + method, ":scheme=http", ":path=" + path, ":authority=test"}, words...)
	w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(words...), EndStream: end, EndHeaders: true}))
}

// get sends a whole GET.
func (w *h2Wire) get(id uint32, path string, words ...string) {
	w.t.Helper()
	w.request(id, true, "GET", path, words...)
}

// next returns the next frame but for SETTINGS and WINDOW_UPDATE, as a line.
func (w *h2Wire) next() string {
	w.t.Helper()
	for {
		w.deadline()
		f, err := w.ReadFrame()
		if errors.Is(err, io.EOF) {
			return "end"
		}
		if err != nil {
			return "error " + err.Error()
		}
		if line := w.line(f); line != "" {
			return line
		}
	}
}

func (w *h2Wire) line(f http2.Frame) string {
	end := ""
	if f.Header().Flags.Has(http2.FlagDataEndStream) {
		end = " end"
	}
	switch f := f.(type) {
	case *http2.SettingsFrame, *http2.WindowUpdateFrame:
		return ""
	case *http2.HeadersFrame:
		fields, err := w.dec.DecodeFull(f.HeaderBlockFragment())
		w.must(err)
		status, rest := "", ""
		for _, hf := range fields {
			switch hf.Name {
			case ":status":
				status = " " + hf.Value
			case "date", "server", "x-envoy-upstream-service-time", "content-type":
			default:
				rest += " " + hf.Name + "=" + hf.Value
			}
		}
		return fmt.Sprintf("head %d%s%s%s", f.StreamID, status, rest, end)
	case *http2.DataFrame:
		return fmt.Sprintf("data %d %s%s", f.StreamID, shortH2(f.Data()), end)
	case *http2.RSTStreamFrame:
		return fmt.Sprintf("reset %d %v", f.StreamID, f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("goaway %d %v", f.LastStreamID, f.ErrCode)
	case *http2.PingFrame:
		return fmt.Sprintf("ping ack=%v", f.IsAck())
	}
	return f.Header().String()
}

func shortH2(b []byte) string {
	if len(b) > 64 {
		return fmt.Sprintf("(%d bytes)", len(b))
	}
	return fmt.Sprintf("%q", b)
}

// want checks the next frames.
func (w *h2Wire) want(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		if got := w.next(); got != want {
			w.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// body reads the data of one stream to its end, and gives the windows back when told to.
func (w *h2Wire) body(id uint32, credit bool) (n int) {
	w.t.Helper()
	for {
		w.deadline()
		f, err := w.ReadFrame()
		w.must(err)
		d, ok := f.(*http2.DataFrame)
		if !ok || d.StreamID != id {
			if line := w.line(f); line != "" {
				w.t.Fatalf("%s in the middle of stream %d", line, id)
			}
			continue
		}
		n += len(d.Data())
		if d.StreamEnded() {
			return n
		}
		if k := uint32(len(d.Data())); credit && k > 0 {
			w.must(w.WriteWindowUpdate(0, k))
			w.must(w.WriteWindowUpdate(id, k))
		}
	}
}

// headersH2 are the parameters of a whole HEADERS frame.
func headersH2(id uint32, block []byte, end bool) http2.HeadersFrameParam {
	return http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true}
}

// stuckOrigin takes connections and reads nothing until told to; then it reads all and answers each with
// a 200.
type stuckOrigin struct {
	ln      net.Listener
	reading chan struct{}
	done    sync.WaitGroup
	stop    sync.Once
	stopped chan struct{}
}

func newStuckOrigin(t testing.TB) *stuckOrigin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &stuckOrigin{ln: ln, reading: make(chan struct{}), stopped: make(chan struct{})}
	o.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			o.done.Go(func() {
				defer c.Close()
				<-o.reading
				o.done.Go(func() { <-o.stopped; c.Close() })
				_ = c.SetDeadline(time.Now().Add(harness.Patience))
				if _, err := harness.ReadMessage(bufio.NewReader(c), false); err == nil {
					_, _ = io.WriteString(c, harness.Reply("ok"))
				}
			})
		}
	})
	t.Cleanup(o.Stop)
	return o
}

func (o *stuckOrigin) read() { o.stop.Do(func() { close(o.reading) }) }

// Address implements harness.Origin.
func (o *stuckOrigin) Address() string { return o.ln.Addr().String() }

// Stop implements harness.Origin.
func (o *stuckOrigin) Stop() {
	if o.ln.Close() == nil {
		o.read()
		close(o.stopped)
	}
	o.done.Wait()
}
