package peer

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// ServeReverseProxy runs net/http's ReverseProxy between two addresses until it fails. It is tuned as the
// other peers are: kept-alive upstream connections, pooled copy buffers, no logging.
func ServeReverseProxy(listen, upstream string) error {
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
	server := &http.Server{Addr: listen, Handler: proxy, ReadHeaderTimeout: time.Hour, ErrorLog: proxy.ErrorLog}
	return server.ListenAndServe()
}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
