package health

import (
	"encoding/json"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// EventLog writes what happens to hosts as lines of JSON, in the form of
// data.core.v3.HealthCheckEvent (HealthCheck.event_log_path). A nil EventLog writes nothing.
type EventLog struct {
	mu   sync.Mutex
	file *os.File
	log  *slog.Logger
}

// OpenEventLog opens the file to append to.
func OpenEventLog(path string, log *slog.Logger) (*EventLog, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &EventLog{file: f, log: log}, nil
}

// Close closes the file; later events are lost.
func (e *EventLog) Close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.file.Close()
	e.file = nil
}

type event struct {
	Checker   string    `json:"health_checker_type"`
	Host      string    `json:"host"`
	Cluster   string    `json:"cluster_name"`
	Timestamp time.Time `json:"timestamp"`

	Ejected *ejected  `json:"eject_unhealthy_event,omitempty"`
	Added   *added    `json:"add_healthy_event,omitempty"`
	Failure *failure  `json:"health_check_failure_event,omitempty"`
	Success *struct{} `json:"successful_health_check_event,omitempty"`
	Degrade *struct{} `json:"degraded_healthy_host,omitempty"`
}

type ejected struct {
	Type string `json:"failure_type"`
}

type added struct {
	First bool `json:"first_check"`
}

type failure struct {
	Type  string `json:"failure_type"`
	First bool   `json:"first_check"`
	Why   string `json:"reason,omitempty"`
}

// note writes the events of one result.
func (e *EventLog) note(t *Target, c *conf.HealthCheck, r Result, s State, change Change, first bool) {
	if e == nil {
		return
	}
	why := failureType(r)
	if r.Outcome == Good {
		switch {
		case change == Changed:
			e.write(t, c, event{Added: &added{first}})
		case c.AlwaysLogSuccess:
			e.write(t, c, event{Success: new(struct{})})
		}
		if r.Degraded && change == Changed {
			e.write(t, c, event{Degrade: new(struct{})})
		}
		return
	}
	if change == Changed {
		e.write(t, c, event{Ejected: &ejected{why}})
	}
	if first || c.AlwaysLogFailures {
		f := &failure{Type: why, First: first}
		if r.Err != nil {
			f.Why = r.Err.Error()
		}
		e.write(t, c, event{Failure: f})
	}
}

func failureType(r Result) string {
	switch {
	case r.Err == errImmediate:
		return "PASSIVE"
	case r.Outcome == Late:
		return "NETWORK_TIMEOUT"
	case r.Outcome == Unreachable:
		return "NETWORK"
	}
	return "ACTIVE"
}

func (e *EventLog) write(t *Target, c *conf.HealthCheck, v event) {
	v.Host, v.Cluster, v.Timestamp = t.Address, t.Cluster, time.Now().UTC()
	switch {
	case c.HTTP != nil:
		v.Checker = "HTTP"
	case c.GRPC != nil:
		v.Checker = "GRPC"
	default:
		v.Checker = "TCP"
	}
	line, err := json.Marshal(v)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.file == nil {
		return
	}
	if _, err := e.file.Write(append(line, '\n')); err != nil {
		e.log.Warn("health check event not written", "error", err)
	}
}
