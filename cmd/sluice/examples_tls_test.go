package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// certificates runs the commands that an example begins with, up to the first that runs a program of
// network, in a directory of the test's, and returns the directory of what they made.
func certificates(t *testing.T, name string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl here")
	}
	text, err := os.ReadFile(filepath.Join("examples", name))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for line := range strings.Lines(string(text)) {
		command, ok := strings.CutPrefix(line, "#   ")
		if !ok {
			continue
		}
		if strings.HasPrefix(command, "sluice") || strings.HasPrefix(command, "nghttpd") || strings.HasPrefix(command, "openssl s_server") {
			break
		}
		script.WriteString(command)
	}
	dir := t.TempDir()
	sh := exec.Command("sh", "-e", "-c", script.String())
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script.String())
	}
	return filepath.Join(dir, "certs")
}

// pool trusts the certificates of files.
func pool(t *testing.T, files ...string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil || !p.AppendCertsFromPEM(pem) {
			t.Fatalf("%s: %v", f, err)
		}
	}
	return p
}

func keyPair(t *testing.T, certs, name string) tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(filepath.Join(certs, name+".pem"), filepath.Join(certs, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// at returns the address of the named listener.
func (e *example) at(name string) string {
	e.t.Helper()
	for _, l := range e.server.Listeners() {
		if l.Name == name {
			return l.Addresses[0].String()
		}
	}
	e.t.Fatalf("there is no listener %s", name)
	return ""
}

// fetch gets a URL from a listener of the example, whatever host the URL names. change may set protocols
// and TLS.
func (e *example) fetch(listener, url string, change func(*http.Transport)) (*http.Response, string, error) {
	e.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", e.at(listener))
	}}
	defer tr.CloseIdleConnections()
	if change != nil {
		change(tr)
	}
	client := &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get(url)
	if err != nil {
		return nil, "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

// mustFetch is fetch of a 200.
func (e *example) mustFetch(listener, url string, change func(*http.Transport)) (*http.Response, string) {
	e.t.Helper()
	r, body, err := e.fetch(listener, url, change)
	if err != nil {
		e.t.Fatal(err)
	}
	if r.StatusCode != 200 {
		e.t.Errorf("%s: %s %s", url, r.Status, body)
	}
	return r, body
}

func trusting(roots *x509.CertPool, change ...func(*tls.Config)) func(*http.Transport) {
	return func(tr *http.Transport) {
		tr.TLSClientConfig = &tls.Config{RootCAs: roots}
		for _, f := range change {
			f(tr.TLSClientConfig)
		}
	}
}

// protocols makes a client speak what set says.
func protocols(set func(*http.Protocols), more func(*http.Transport)) func(*http.Transport) {
	return func(tr *http.Transport) {
		tr.Protocols = new(http.Protocols)
		set(tr.Protocols)
		if more != nil {
			more(tr)
		}
	}
}

func TestExampleTLSTermination(t *testing.T) {
	certs := certificates(t, "tls/tls-termination.yaml")
	e := runExample(t, "tls/tls-termination.yaml", "certs/", certs+"/", "port_value: 9001", newOrigin(t, "shop"), "port_value: 9002", newOrigin(t, "api"))
	roots := pool(t, certs+"/shop.pem", certs+"/api.pem")
	r, _, err := e.fetch("http", "http://shop.example/cart?x", nil)
	if err != nil || r.StatusCode != 301 || r.Header.Get("Location") != "https://shop.example/cart?x" {
		t.Fatalf("%v %v", r, err)
	}
	r, body := e.mustFetch("https", "https://shop.example/", trusting(roots))
	if !strings.HasPrefix(body, "hello from shop") || r.Header.Get("Strict-Transport-Security") == "" || r.TLS.PeerCertificates[0].Subject.CommonName != "shop" {
		t.Errorf("%v %q", r.Header, body)
	}
	if _, body = e.mustFetch("https", "https://shop.example/headers", trusting(roots)); !strings.Contains(body, "x-forwarded-proto: https\r\n") {
		t.Errorf("the origin got %q", body)
	}
	if _, body = e.mustFetch("https", "https://api.example/", trusting(roots)); !strings.HasPrefix(body, "hello from api") {
		t.Errorf("%q", body)
	}
	old := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
	if _, _, err := e.fetch("https", "https://api.example/", trusting(roots, old)); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
	if _, _, err := e.fetch("https", "https://other.example/", trusting(roots)); err == nil {
		t.Error("a name that no chain has was served")
	}
}

func TestExampleMutualTLS(t *testing.T) {
	certs := certificates(t, "tls/mtls.yaml")
	e := runExample(t, "tls/mtls.yaml", "certs/", certs+"/", "port_value: 9000", newOrigin(t, "o"))
	roots := pool(t, certs+"/ca.pem")
	shows := func(name string) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{keyPair(t, certs, name)} }
	}
	_, body := e.mustFetch("ingress", "https://server.example/headers", trusting(roots, shows("client")))
	if !strings.Contains(body, `Subject="CN=client";URI=spiffe://example/client;DNS=client.example`+"\r\n") {
		t.Errorf("the origin got %q", body)
	}
	if _, _, err := e.fetch("ingress", "https://server.example/", trusting(roots)); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	if _, _, err := e.fetch("ingress", "https://server.example/", trusting(roots, shows("ca"))); err == nil {
		t.Error("the authority's own certificate, which has no name, was let in")
	}
}

func TestExampleTLSUpstream(t *testing.T) {
	certs := certificates(t, "tls/tls-upstream.yaml")
	for _, row := range []struct {
		shown  string
		status int
	}{{"origin", 200}, {"proxy", 503}} { // the other one is for another name
		o := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.TLS.ServerName, " ", r.TLS.PeerCertificates[0].Subject, " ", tls.VersionName(r.TLS.Version))
		}, &tls.Config{Certificates: []tls.Certificate{keyPair(t, certs, row.shown)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(t, certs+"/ca.pem")})
		e := runExample(t, "tls/tls-upstream.yaml", "certs/", certs+"/", "port_value: 9443", o)
		status, _, body := e.get("x", "/")
		if status != row.status || status == 200 && body != "origin.internal CN=proxy TLS 1.3" {
			t.Errorf("an origin with the certificate of %s: %d %q", row.shown, status, body)
		}
	}
}

// secureServer serves HTTP with TLS, and HTTP/2 if the configuration offers it, and returns "port_value: N".
func secureServer(t *testing.T, h http.HandlerFunc, c *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, h, nil)
}

// serveOn serves HTTP on a listener and returns "port_value: N".
func serveOn(t *testing.T, l net.Listener, h http.HandlerFunc, set func(*http.Protocols)) string {
	t.Helper()
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	if set != nil {
		s.Protocols = new(http.Protocols)
		set(s.Protocols)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "port_value: " + port
}

// clearServer serves HTTP/2 in the clear.
func clearServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, h, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
}

func TestExampleHTTP2(t *testing.T) {
	certs := certificates(t, "h2/http2.yaml")
	says := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.URL.Path) }
	h1 := func(p *http.Protocols) { p.SetHTTP1(true) }
	h2 := func(p *http.Protocols) { p.SetHTTP2(true) }
	h2c := func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }
	secure := trusting(pool(t, certs+"/ca.pem"))
	for _, proto := range []string{"h2", "http/1.1"} { // what the origin with TLS is able to
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		set, want := h2, "HTTP/2.0 /x"
		if proto != "h2" {
			set, want = h1, "HTTP/1.1 /x"
		}
		origin := serveTLSOn(t, l, says, set, keyPair(t, certs, "origin"))
		e := runExample(t, "h2/http2.yaml", "certs/", certs+"/", "port_value: 9001", clearServer(t, says), "port_value: 9443", origin)
		for _, row := range []struct {
			listener, url string
			speaks        func(*http.Protocols)
			more          func(*http.Transport)
			proto, want   string
		}{
			{"clear", "http://shop.example/x", h1, nil, "HTTP/1.1", "HTTP/2.0 /x"},
			{"clear", "http://shop.example/x", h2c, nil, "HTTP/2.0", "HTTP/2.0 /x"},
			{"clear", "http://shop.example/tls/x", h1, nil, "HTTP/1.1", want},
			{"clear", "http://shop.example/tls/x", h2c, nil, "HTTP/2.0", want},
			{"encrypted", "https://shop.example/x", h1, secure, "HTTP/1.1", "HTTP/2.0 /x"},
			{"encrypted", "https://shop.example/x", h2, secure, "HTTP/2.0", "HTTP/2.0 /x"},
			{"encrypted", "https://shop.example/tls/x", h1, secure, "HTTP/1.1", want},
			{"encrypted", "https://shop.example/tls/x", h2, secure, "HTTP/2.0", want},
		} {
			if r, body := e.mustFetch(row.listener, row.url, protocols(row.speaks, row.more)); r.Proto != row.proto || body != row.want {
				t.Errorf("%s by %s: %s, %q; want %q", row.url, row.proto, r.Proto, body, row.want)
			}
		}
	}
}

// serveTLSOn is serveOn with TLS of net/http's making, which knows the protocols.
func serveTLSOn(t *testing.T, l net.Listener, h http.HandlerFunc, set func(*http.Protocols), cert tls.Certificate) string {
	t.Helper()
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	set(s.Protocols)
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return "port_value: " + port
}

// The calls of the example are HTTP/2 requests whose status is in the trailers.
func TestExampleGRPC(t *testing.T) {
	service := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			fmt.Fprint(w, name, " ", r.URL.Path, " ", r.Header.Get("Te"))
			w.Header().Set("Grpc-Status", "0")
		}
	}
	e := runExample(t, "h2/grpc.yaml", "port_value: 50051", clearServer(t, service("greeter")), "port_value: 50052", clearServer(t, service("greeter")),
		"port_value: 50061", clearServer(t, service("chat")))
	h2c := protocols(func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, nil)
	for path, want := range map[string]string{
		"/helloworld.Greeter/SayHello": "greeter /helloworld.Greeter/SayHello ", "/chat.Rooms/Join": "chat /chat.Rooms/Join ",
	} {
		r, body := e.mustFetch("grpc", "http://a.example"+path, h2c)
		if body != want || r.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: %q %v", path, body, r.Trailer)
		}
	}
	if r, _, err := e.fetch("grpc", "http://a.example/other.Service/Call", h2c); err != nil || r.StatusCode != 404 {
		t.Errorf("%v %v", r, err)
	}
	if _, _, err := e.fetch("grpc", "http://a.example/", nil); err == nil {
		t.Error("HTTP/1 was served")
	}
}

func TestExampleTLSByHost(t *testing.T) {
	certs := certificates(t, "tls/tls-by-host.yaml")
	o := secureServer(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName, " ", r.Host) },
		&tls.Config{Certificates: []tls.Certificate{keyPair(t, certs, "blue"), keyPair(t, certs, "red")}})
	e := runExample(t, "tls/tls-by-host.yaml", "certs/", certs+"/", "port_value: 9443", o, "access_loggers.stream.v3.StdoutAccessLog", "access_loggers.stream.v3.StderrAccessLog")
	for host, want := range map[string]int{"blue.example": 200, "RED.example": 200, "x.red.example": 503, "green.example": 404} {
		name, _, _ := strings.Cut(strings.ToLower(host), ":")
		if status, _, body := e.get(host, "/"); status != want || status == 200 && body != name+" "+host {
			t.Errorf("%s: %d %q", host, status, body)
		}
	}
}
