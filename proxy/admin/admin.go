package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"

	"github.com/sluiceproxy/sluice/proxy"
	"github.com/sluiceproxy/sluice/proxy/conf"
)

// Levels is the operational log's level.
type Levels interface {
	Level() string
	// SetLevel reports false for a name that is no level.
	SetLevel(name string) bool
}

// Options configure the admin listener.
type Options struct {
	Server  *proxy.Server
	Config  *conf.Admin
	Version string
	Log     *slog.Logger
	Levels  Levels
	// CommandLine is shown by /server_info.
	CommandLine map[string]any
	// Quit asks the process to end; called once for each /quitquitquit.
	Quit func()
}

// Server is a running admin listener.
type Server struct {
	o     Options
	http  *http.Server
	ln    net.Listener
	pages []page
	index map[string]*page
	done  chan struct{}
}

// page is one path.
type page struct {
	path, help string
	mutates    bool
	serve      func(w http.ResponseWriter, r *http.Request)
}

// New opens the listener and serves until Close.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, index: make(map[string]*page), done: make(chan struct{})}
	s.pages = s.table()
	for i := range s.pages {
		s.index[s.pages[i].path] = &s.pages[i]
	}
	var err error
	if s.ln, err = listen(&o.Config.Address); err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("admin listener ended", "error", err)
		}
	}()
	return s, nil
}

func listen(a *conf.Address) (net.Listener, error) {
	if a.Pipe == "" {
		return net.Listen("tcp", a.String())
	}
	ln, err := net.Listen("unix", a.Pipe)
	if err == nil && a.Mode != 0 {
		err = os.Chmod(a.Pipe, os.FileMode(a.Mode))
	}
	return ln, err
}

// Addr returns where the interface is served.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close ends the listener; requests under way get a second to finish.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	s.http.Close()
	<-s.done
	return err
}

func (s *Server) table() []page {
	return []page{
		{"/", "Admin home page", false, s.home},
		{"/certs", "print certs on machine", false, s.certs},
		{"/clusters", "upstream cluster status", false, s.clusters},
		{"/config_dump", "dump current configs; ?resource=static_clusters|static_listeners|static_route_configs|static_endpoint_configs|static_secrets, ?name_regex=REGEX, ?include_eds", false, s.configDump},
		{"/contention", "dump current mutex contention stats (with --enable-mutex-tracing)", false, s.contention},
		{"/cpuprofiler", "disabled; see /debug/pprof/", true, elsewhere},
		{"/debug/pprof/", "Go profiles: /debug/pprof/profile?seconds=10, heap, goroutine, allocs, trace", false, pprof.Index},
		{"/drain_listeners", "close listeners; ?graceful drains connections first, ?graceful&skip_exit leaves the listeners open, ?inboundonly takes only inbound ones", true, s.drainListeners},
		{"/explain", "say where a request would go, and why; ?url=http://host/path with &method=, &header=NAME:VALUE, &from=IP, &sni=, &listener=, &format=json", false, s.explain},
		{"/healthcheck/fail", "cause the server to fail health checks", true, s.healthFail},
		{"/healthcheck/ok", "cause the server to pass health checks", true, s.healthOK},
		{"/heap_dump", "disabled; see /debug/pprof/heap", false, elsewhere},
		{"/heapprofiler", "disabled; see /debug/pprof/heap", true, elsewhere},
		{"/help", "print out list of admin commands", false, s.help},
		{"/hot_restart_version", "print the hot restart compatibility version", false, s.hotRestartVersion},
		{"/init_dump", "dump what the server waits for while it starts", false, s.initDump},
		{"/listeners", "print listener info", false, s.listeners},
		{"/logging", "query/change logging levels", true, s.logging},
		{"/memory", "print current allocation/heap usage", false, s.memory},
		{"/quitquitquit", "exit the server", true, s.quit},
		{"/ready", "print server state, return 200 if LIVE, otherwise return 503", false, s.ready},
		{"/reopen_logs", "reopen access logs", true, s.reopenLogs},
		{"/reset_counters", "reset all counters to zero", true, s.resetCounters},
		{"/runtime", "print runtime values", false, s.runtime},
		{"/runtime_modify", "add, change or remove runtime values: ?key=value, empty to remove", true, s.runtimeModify},
		{"/server_info", "print server version/status information", false, s.serverInfo},
		{"/stats", "print server stats; ?usedonly, ?filter=REGEX, ?format=json|prometheus, ?type=Counters|Gauges|Histograms", false, s.stats},
		{"/stats/prometheus", "print server stats in prometheus format", false, s.prometheus},
		{"/stats/recentlookups", "disabled", false, recentLookups},
		{"/stats/recentlookups/clear", "disabled", true, recentLookups},
		{"/stats/recentlookups/disable", "disabled", true, recentLookups},
		{"/stats/recentlookups/enable", "disabled", true, recentLookups},
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Cache-Control", "no-cache, max-age=0")
	h.Set("X-Content-Type-Options", "nosniff")
	p := s.find(r.URL.Path)
	switch {
	case !s.allowed(r.URL.Path):
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "request to path %s not allowed\n", r.URL.Path)
	case p == nil:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "invalid path. ")
		s.writeHelp(w)
	case p.mutates && r.Method != http.MethodPost:
		h.Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		fmt.Fprintf(w, "Method %s not allowed, POST required.\n", r.Method)
	case !p.mutates && r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		fmt.Fprintf(w, "Method %s not allowed.\n", r.Method)
	default:
		p.serve(w, r)
	}
}

func (s *Server) find(path string) *page {
	if p := s.index[path]; p != nil {
		return p
	}
	if name, ok := strings.CutPrefix(path, "/debug/pprof/"); ok {
		switch name {
		case "cmdline":
			return &page{serve: cmdline}
		case "profile":
			return &page{serve: pprof.Profile}
		case "symbol":
			return &page{serve: pprof.Symbol}
		case "trace":
			return &page{serve: pprof.Trace}
		}
		return s.index["/debug/pprof/"]
	}
	return nil
}

// allowed applies admin.allow_paths.
func (s *Server) allowed(path string) bool {
	list := s.o.Config.AllowPaths
	for _, p := range list {
		if prefix, ok := strings.CutSuffix(p, "*"); path == p || ok && strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return len(list) == 0
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	_ = e.Encode(v) // the client went away: nobody to tell
}

func badRequest(w http.ResponseWriter, format string, args ...any) {
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, format+"\n", args...)
}

func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	homePage(w, s.pages, s.o.Version, s.o.Server.State().String())
}

func (s *Server) help(w http.ResponseWriter, _ *http.Request) { s.writeHelp(w) }

func (s *Server) writeHelp(w http.ResponseWriter) {
	fmt.Fprintln(w, "admin commands are:")
	for _, p := range s.pages {
		post := ""
		if p.mutates {
			post = " (POST)"
		}
		fmt.Fprintf(w, "  %s%s: %s\n", p.path, post, p.help)
	}
}
