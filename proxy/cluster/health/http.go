package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

const (
	userAgent   = "Envoy/HC" // CL-42
	maxBody     = 64 << 10   // what is read of a body before its connection is given up
	fieldFailed = "X-Envoy-Immediate-Health-Check-Fail"
	fieldDegr   = "X-Envoy-Degraded"
	fieldChecks = "X-Envoy-Upstream-Healthchecked-Cluster"
)

// request makes the request of a check.
func (c *Checker) request(ctx context.Context, t *Target) *http.Request {
	h := c.o.Conf.HTTP
	path, query, _ := strings.Cut(h.Path, "?")
	r := &http.Request{
		Method: h.Method, URL: &url.URL{Scheme: "http", Host: t.Authority, Opaque: "", Path: path, RawPath: path, RawQuery: query},
		Host: t.Authority, Header: make(http.Header), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	r.Header.Set("User-Agent", userAgent)
	addFields(r, h.HeadersToAdd)
	for _, name := range h.HeadersToRemove {
		r.Header.Del(name)
	}
	return r.WithContext(ctx)
}

// addFields applies header options; their values are plain text here.
func addFields(r *http.Request, fields []conf.HeaderValue) {
	for _, f := range fields {
		if strings.EqualFold(f.Name, "host") || f.Name == ":authority" {
			r.Host = f.Value
			continue
		}
		_, has := r.Header[http.CanonicalHeaderKey(f.Name)]
		switch {
		case f.Action == conf.AddIfAbsent && has, f.Action == conf.OverwriteIfExists && !has:
		case f.Action == conf.AppendIfExistsOrAdd:
			r.Header.Add(f.Name, f.Value)
		default:
			r.Header.Set(f.Name, f.Value)
		}
	}
}

// judge says what an answer means; it reads the part of the body that is looked at.
func (c *Checker) judge(r *http.Response) Result {
	h := c.o.Conf.HTTP
	out := Result{Degraded: r.Header.Get(fieldDegr) != "", Excluded: len(r.Header[fieldFailed]) > 0}
	status := uint16(r.StatusCode)
	switch {
	case out.Excluded:
		out.Outcome, out.Err = Bad, errImmediate
	case within(status, h.Expected):
	case within(status, h.Retriable):
		out.Outcome, out.Err = Retriable, fmt.Errorf("status %d", status)
	default:
		out.Outcome, out.Err = Bad, fmt.Errorf("status %d", status)
	}
	if out.Outcome == Good && len(h.Receive) > 0 {
		b, err := io.ReadAll(io.LimitReader(r.Body, int64(h.ResponseBytes)))
		if err != nil {
			return Result{Outcome: Unreachable, Err: err}
		}
		if !inOrder(b, h.Receive) {
			out.Outcome, out.Err = Bad, errors.New("the body is not what is expected")
		}
	}
	if out.Outcome == Good && c.service != nil && rand.Uint64N(100) < c.o.VerifyService.Load() {
		c.o.Stats.VerifyCluster.Inc()
		if name := r.Header.Get(fieldChecks); !c.service.Matches([]byte(name)) {
			out.Outcome, out.Err = Bad, fmt.Errorf("the host is of %q", name)
		}
	}
	return out
}

func within(status uint16, ranges []conf.StatusRange) bool {
	for _, r := range ranges {
		if status >= r.Start && status < r.End {
			return true
		}
	}
	return false
}

// http1Check asks over a connection of its own.
type http1Check struct {
	c *Checker
	t *Target
	link
	in *bufio.Reader
}

func (k *http1Check) check(ctx context.Context) Result {
	reused := k.conn != nil
	r, again := k.try(ctx)
	if again && reused && ctx.Err() == nil { // the origin closed what was idle: that says nothing of it
		r, _ = k.try(ctx)
	}
	return r
}

// try makes a request; again says that nothing came back.
func (k *http1Check) try(ctx context.Context) (out Result, again bool) {
	o := k.c.o.Conf
	undo, err := k.open(ctx, k.t, o.ALPN)
	if err != nil {
		return Result{Outcome: Unreachable, Err: err}, false
	}
	keep := false
	defer func() {
		if !undo() || !keep {
			k.link.close()
			k.in = nil
		}
	}()
	if k.in == nil {
		k.in = bufio.NewReaderSize(k.conn, 2048)
	}
	request := k.c.request(ctx, k.t)
	request.Close = !o.ReuseConnection
	if err := request.Write(k.conn); err != nil {
		return Result{Outcome: Unreachable, Err: err}, true
	}
	if _, err := k.in.Peek(1); err != nil {
		return Result{Outcome: Unreachable, Err: err}, true
	}
	response, err := finalResponse(k.in, request)
	if err != nil {
		return Result{Outcome: Unreachable, Err: err}, false
	}
	out = k.c.judge(response)
	n, err := io.CopyN(io.Discard, response.Body, maxBody)
	keep = o.ReuseConnection && !response.Close && errors.Is(err, io.EOF) && n < maxBody && out.Outcome < Unreachable
	return out, false
}

// finalResponse skips interim responses, a few of them.
func finalResponse(in *bufio.Reader, request *http.Request) (*http.Response, error) {
	for range 8 {
		r, err := http.ReadResponse(in, request)
		if err != nil || r.StatusCode >= 200 || r.StatusCode == http.StatusSwitchingProtocols {
			return r, err
		}
	}
	return nil, errors.New("no end of interim responses")
}

func (k *http1Check) close() { k.link.close() }

// http2Check asks over HTTP/2. The connection is dialled by the target, with TLS where there is any: what
// net/http sees is HTTP/2 by prior knowledge.
type http2Check struct {
	c         *Checker
	t         *Target
	transport *http.Transport
}

func newTransport(c *Checker, t *Target) *http.Transport {
	alpn := c.o.Conf.ALPN
	if alpn == nil {
		alpn = []string{"h2"}
	}
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Dial(ctx, alpn) },
		Protocols:   new(http.Protocols), MaxIdleConns: 1, DisableCompression: true, MaxResponseHeaderBytes: maxBody,
		ReadBufferSize: 2048, WriteBufferSize: 2048,
	}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}

func newHTTP2(c *Checker, t *Target) *http2Check {
	return &http2Check{c: c, t: t, transport: newTransport(c, t)}
}

func (k *http2Check) check(ctx context.Context) Result {
	if !k.c.o.Conf.ReuseConnection {
		defer k.transport.CloseIdleConnections()
	}
	response, err := k.transport.RoundTrip(k.c.request(ctx, k.t))
	if err != nil {
		return Result{Outcome: Unreachable, Err: err}
	}
	defer response.Body.Close()
	out := k.c.judge(response)
	_, _ = io.CopyN(io.Discard, response.Body, maxBody)
	return out
}

func (k *http2Check) close() { k.transport.CloseIdleConnections() }
