package admin

import (
	"fmt"
	"net/http"
	"slices"
)

// runtimeEntry is one key of /runtime: what each layer says, "" where it says nothing, and what holds.
type runtimeEntry struct {
	LayerValues []string `json:"layer_values"`
	FinalValue  string   `json:"final_value"`
}

// runtime prints the layers in order and every key with its value in each of them (OP-30, OP-31).
func (s *Server) runtime(w http.ResponseWriter, _ *http.Request) {
	c, _ := s.o.Server.Config()
	layers := make([]string, 0, len(c.RuntimeLayers))
	entries := make(map[string]runtimeEntry)
	for i, l := range c.RuntimeLayers {
		layers = append(layers, l.Name)
		for key, value := range l.Values {
			e, found := entries[key]
			if !found {
				e.LayerValues = slices.Repeat([]string{""}, len(c.RuntimeLayers))
			}
			e.LayerValues[i], e.FinalValue = value, value
			entries[key] = e
		}
	}
	writeJSON(w, map[string]any{"layers": layers, "entries": entries})
}

// runtimeModify refuses: values are compiled into the configuration when it is loaded.
func (s *Server) runtimeModify(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "runtime values cannot be changed here: change layered_runtime in the configuration and reload it (SIGHUP)")
}
