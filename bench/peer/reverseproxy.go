package peer

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// ServeReverseProxy runs net/http's ReverseProxy between two addresses until it fails; with certFile and
// keyFile over TLS, else with HTTP/2 by prior knowledge too. It is tuned as the other peers are: kept-alive
// upstream connections, pooled copy buffers, no logging, no session tickets.
func ServeReverseProxy(listen, upstream, certFile, keyFile string) error {
	buffers := &bufferPool{}
	buffers.pool.New = func() any { b := make([]byte, 32<<10); return &b }
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: upstream})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 1024,
			IdleConnTimeout:     time.Hour,
			DisableCompression:  true,
		},
		BufferPool: buffers,
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	server := &http.Server{
		Addr: listen, Handler: proxy, ReadHeaderTimeout: time.Hour, ErrorLog: proxy.ErrorLog, Protocols: new(http.Protocols),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true},
	}
	server.Protocols.SetHTTP1(true)
	if certFile != "" {
		server.Protocols.SetHTTP2(true)
		return server.ListenAndServeTLS(certFile, keyFile)
	}
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.ListenAndServe()
}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
