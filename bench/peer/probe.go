package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sluiceproxy/sluice/bench"
)

// probeTimeout bounds one question.
const probeTimeout = 5 * time.Second

// Probe asks a proxy in front of bench/origin for answers that are known and returns what the first wrong
// one was. Every question is asked twice, the second time on upstream connections that served before.
func Probe(ctx context.Context, addr string) error { return ProbeOver(ctx, addr, H1, nil) }

// ProbeOver is Probe over another wire; one with TLS needs the proxy's identity.
func ProbeOver(ctx context.Context, addr string, w Wire, id *Identity) error {
	client, scheme := id.client(w), "http://"
	if w.Secure() {
		scheme = "https://"
	}
	upload := bench.Pattern(nil, 64<<10)
	for range 2 {
		for _, q := range []struct {
			method, path string
			send         []byte
			status       int
			want         []byte
		}{
			{"GET", "/", nil, 200, []byte("hello from origin\n")},
			{"GET", "/bytes/10240", nil, 200, bench.Pattern(nil, 10240)},
			{"GET", "/bytes/1048576", nil, 200, bench.Pattern(nil, 1<<20)},
			{"GET", "/chunked/20000", nil, 200, bench.Pattern(nil, 20000)},
			{"HEAD", "/bytes/100", nil, 200, nil},
			{"GET", "/status/404", nil, 404, []byte("status 404\n")},
			{"POST", "/drain", upload, 200, fmt.Appendf(nil, "%d %08x\n", len(upload), crc32.ChecksumIEEE(upload))},
			{"POST", "/echo", upload, 200, upload},
		} {
			if err := ask(ctx, client, scheme+addr+q.path, q.method, q.send, q.status, q.want); err != nil {
				return fmt.Errorf("%s %s: %w", q.method, q.path, err)
			}
		}
	}
	return nil
}

func ask(ctx context.Context, client *http.Client, url, method string, send []byte, status int, want []byte) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(send))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != status:
		return fmt.Errorf("status %d, want %d", res.StatusCode, status)
	case !bytes.Equal(got, want):
		return fmt.Errorf("%d body bytes that are not the %d expected", len(got), len(want))
	}
	return nil
}

// ProbeSource does the same for a proxy in front of bench/origin's endless source: some megabytes of it
// are right.
func ProbeSource(ctx context.Context, addr string) error {
	const sourceBytes = 20 << 20
	d := net.Dialer{Timeout: probeTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(probeTimeout))
	want := bench.Pattern(nil, sourceBytes)
	got := make([]byte, sourceBytes)
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes that are not the pattern", len(got))
	}
	return nil
}

// ProbeEcho does the same for a proxy in front of an echo server: bytes and the end of the stream come back.
func ProbeEcho(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: probeTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(probeTimeout))
	sent := bench.Pattern(nil, 100_000)
	writing := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		writing <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err = errors.Join(err, <-writing); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%d bytes back that are not the %d sent", len(got), len(sent))
	}
	return nil
}

// ProbeRedis does the same for a proxy in front of a Redis server: what was set is got, pipelined.
func ProbeRedis(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: probeTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(probeTimeout))
	const ask, want = "PING\r\nSET bench:probe known\r\nGET bench:probe\r\nDEL bench:probe\r\n", "+PONG\r\n+OK\r\n$5\r\nknown\r\n:1\r\n"
	if _, err := io.WriteString(c, ask); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("after %q: %w", got[:n], err)
	}
	if string(got) != want {
		return fmt.Errorf("%q, want %q", got, want)
	}
	return nil
}
