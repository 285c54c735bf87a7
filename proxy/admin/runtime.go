package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sluiceproxy/sluice/proxy/runtime"
)

// runtimeEntry is one key of /runtime: what each layer says, "" where it says nothing, and what holds.
type runtimeEntry struct {
	LayerValues []string `json:"layer_values"`
	FinalValue  string   `json:"final_value"`
}

// runtime prints the layers in order and every key with its value in each of them (OP-30, OP-31).
func (s *Server) runtime(w http.ResponseWriter, _ *http.Request) {
	snapshot := s.o.Server.Runtime().Snapshot()
	layers := make([]string, 0, len(snapshot.Layers))
	entries := make(map[string]runtimeEntry)
	for i, l := range snapshot.Layers {
		layers = append(layers, l.Name)
		for key, value := range l.Values {
			e, found := entries[key]
			if !found {
				e.LayerValues = slices.Repeat([]string{""}, len(snapshot.Layers))
			}
			e.LayerValues[i], e.FinalValue = value, value
			entries[key] = e
		}
	}
	writeJSON(w, map[string]any{"layers": layers, "entries": entries})
}

// maxModifyBytes bounds a form that is posted.
const maxModifyBytes = 1 << 20

// runtimeModify sets values in the admin layer, from the query or a posted form: all of them or none. An
// empty value takes an override away.
func (s *Server) runtimeModify(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxModifyBytes)
	if err := r.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintln(w, err)
		return
	}
	if len(r.Form) == 0 {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\nor send the parameters as form values\nuse an empty value to remove a previously added override\n")
		return
	}
	values := make(map[string]string, len(r.Form))
	for key, v := range r.Form {
		values[key] = v[len(v)-1]
	}
	switch err := s.o.Server.Runtime().Modify(values); {
	case errors.Is(err, runtime.ErrNoAdminLayer):
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintln(w, err)
	default:
		fmt.Fprintln(w, "OK")
	}
}
