package admin

import (
	"fmt"
	"net/http"

	"github.com/sluiceproxy/sluice/proxy"
)

func ok(w http.ResponseWriter) { fmt.Fprintln(w, "OK") }

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	state := s.o.Server.State()
	if state != proxy.Live {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, state)
}

func (s *Server) healthFail(w http.ResponseWriter, _ *http.Request) {
	s.o.Server.FailHealthCheck(true)
	ok(w)
}

func (s *Server) healthOK(w http.ResponseWriter, _ *http.Request) {
	s.o.Server.FailHealthCheck(false)
	ok(w)
}

// drainListeners closes the listening sockets; with graceful responses end their connections first, and
// the sockets close when the drain time is over (OP-51, OP-53).
func (s *Server) drainListeners(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if name != "graceful" && name != "skip_exit" && name != "inboundonly" {
			badRequest(w, "unknown parameter %q; graceful, skip_exit and inboundonly are known", name)
			return
		}
	}
	if q.Has("skip_exit") && !q.Has("graceful") {
		badRequest(w, "skip_exit requires graceful")
		return
	}
	s.o.Server.DrainListeners(proxy.ListenerDrain{
		Graceful: q.Has("graceful"), SkipExit: q.Has("skip_exit"), InboundOnly: q.Has("inboundonly"),
	})
	ok(w)
}

func (s *Server) quit(w http.ResponseWriter, _ *http.Request) {
	ok(w)
	if f, isFlusher := w.(http.Flusher); isFlusher {
		f.Flush()
	}
	if s.o.Quit != nil {
		s.o.Quit()
	}
}

func (s *Server) reopenLogs(w http.ResponseWriter, _ *http.Request) {
	if err := s.o.Server.Logs().Reopen(); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintln(w, err)
		return
	}
	ok(w)
}

// logging shows or changes the level. There is one logger, called sluice; Envoy's per-component
// names are refused rather than ignored.
func (s *Server) logging(w http.ResponseWriter, r *http.Request) {
	if s.o.Levels == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "the log level cannot be changed here")
		return
	}
	q := r.URL.Query()
	for name, values := range q {
		if len(values) != 1 || name != "level" && name != "sluice" {
			badRequest(w, "usage: /logging?level=<level> (there is one logger, sluice)")
			return
		}
	}
	if len(q) > 1 {
		badRequest(w, "usage: /logging?level=<level>")
		return
	}
	for _, values := range q {
		if !s.o.Levels.SetLevel(values[0]) {
			badRequest(w, "unknown level %q: trace, debug, info, warning, error, critical and off are known", values[0])
			return
		}
	}
	fmt.Fprintf(w, "active loggers:\n  sluice: %s\n", s.o.Levels.Level())
}

func (s *Server) hotRestartVersion(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, "disabled")
}
