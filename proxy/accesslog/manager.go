package accesslog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/runtime"
	"github.com/sluiceproxy/sluice/proxy/stats"
)

// defaultLine is Envoy's (operations.md 4).
const defaultLine = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// genericLine is a generic proxy's.
const genericLine = `[%START_TIME%] "%METHOD% %PATH% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ` +
	`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% "%HOST%" "%UPSTREAM_HOST%"` + "\n"

// Manager owns the files and the goroutine that writes them. Its methods are for the control plane;
// none may be called on a loop.
type Manager struct {
	flushInterval time.Duration
	logger        *slog.Logger
	stats         *stats.FilesystemStats
	runtime       *runtime.Loader

	queue   chan chunk
	free    chan []byte
	reopen  chan chan error
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	mu     sync.Mutex // files, shards
	files  []*file    // by slot; nil while free
	shards []*Shard
}

// file is one open log. Loops know it by its slot.
type file struct {
	path string // "/dev/stdout" and "/dev/stderr" for those sinks
	slot int
	out  *os.File // the writer's, once the file is published
	std  bool     // never closed, never re-opened

	failing bool // the last write failed; the writer's

	loggers atomic.Int32 // Loggers that are not closed
	users   atomic.Int32 // shards with a buffer for it
	queued  atomic.Int32 // chunks on their way
}

// chunk is a buffer of whole lines on its way to the writer.
type chunk struct {
	file  *file
	bytes []byte
	timer bool // sent by the flush timer
}

// NewManager starts a writer. flushInterval is how often the loops call Shard.Flush
// (access log flush interval; 10 s in Envoy); files nobody uses any more are closed as often.
func NewManager(flushInterval time.Duration, logger *slog.Logger) *Manager {
	if flushInterval <= 0 {
		flushInterval = 10 * time.Second
	}
	m := &Manager{
		flushInterval: flushInterval, logger: logger,
		stats:  stats.NewFilesystemStats(stats.NewRegistry()),
		queue:  make(chan chunk, queueChunks),
		free:   make(chan []byte, queueChunks),
		reopen: make(chan chan error), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go m.write()
	return m
}

// FlushInterval is how often every loop is to call Shard.Flush.
func (m *Manager) FlushInterval() time.Duration { return m.flushInterval }

// SetStats has the manager count in r, under filesystem. To be called before Compile.
func (m *Manager) SetStats(r *stats.Registry) { m.stats = stats.NewFilesystemStats(r) }

// SetRuntime gives what filters with a runtime_key follow. To be called before Compile.
func (m *Manager) SetRuntime(l *runtime.Loader) { m.runtime = l }

// NewShard makes the buffers of one more loop.
func (m *Manager) NewShard() *Shard {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Shard{manager: m}
	m.shards = append(m.shards, s)
	return s
}

// Compile makes a Logger and opens its file, unless another Logger has it open. The caller closes it.
func (m *Manager) Compile(c *conf.AccessLog) (*Logger, error) {
	return m.compile(c, defaultLine, format.CompileText, format.CompileJSON)
}

// CompileGeneric is Compile for a generic proxy, which has operators and a default line of its own.
func (m *Manager) CompileGeneric(c *conf.AccessLog) (*Logger, error) {
	return m.compile(c, genericLine, format.CompileGeneric, format.CompileGenericJSON)
}

func (m *Manager) compile(c *conf.AccessLog, line string, text func(string, bool) (*format.Formatter, error), object func(*conf.JSONObject, bool) (*format.JSONFormatter, error)) (*Logger, error) {
	l := &Logger{manager: m}
	var err error
	switch f := c.Format; {
	case f == nil:
		l.text, err = text(line, false)
	case f.JSON != nil:
		l.json, err = object(f.JSON, f.OmitEmptyValues)
	default:
		l.text, err = text(f.Text, f.OmitEmptyValues)
	}
	if err != nil {
		return nil, fmt.Errorf("log_format: %w", err)
	}
	if l.filter, err = m.CompileFilter(c.Filter); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	if l.file, err = m.open(c); err != nil {
		return nil, err
	}
	return l, nil
}

func (m *Manager) open(c *conf.AccessLog) (*file, error) {
	f := &file{path: c.Path}
	switch c.Sink {
	case conf.SinkStdout:
		f.path, f.out, f.std = "/dev/stdout", os.Stdout, true
	case conf.SinkStderr:
		f.path, f.out, f.std = "/dev/stderr", os.Stderr, true
	}
	if f.path == "" {
		return nil, errors.New("path: must not be empty")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.slot = len(m.files)
	for slot, other := range m.files {
		if other == nil {
			f.slot = slot
		} else if other.path == f.path && other.std == f.std {
			other.loggers.Add(1)
			return other, nil
		}
	}
	if !f.std {
		var err error
		if f.out, err = openFile(f.path); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	}
	f.loggers.Store(1)
	if f.slot == len(m.files) {
		m.files = append(m.files, nil)
	}
	m.files[f.slot] = f
	return f, nil
}

func openFile(path string) (*os.File, error) {
	if strings.ContainsRune(path, 0) {
		return nil, errors.New("a NUL byte in the name")
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
}

// Reopen opens every file again by its name, for log rotation (SIGUSR1, /reopen_logs). A file that
// cannot be opened goes on with the old one. Returns when the writer has done so.
func (m *Manager) Reopen() error {
	answer := make(chan error, 1)
	select {
	case m.reopen <- answer:
		return <-answer
	case <-m.stopped:
		return errors.New("the access log is closed")
	}
}

// Close writes what the loops still hold and closes the files. The loops must have stopped.
func (m *Manager) Close() {
	m.once.Do(func() {
		m.mu.Lock()
		shards := m.shards
		m.mu.Unlock()
		for _, s := range shards {
			s.drain()
		}
		close(m.stop)
	})
	<-m.stopped
}

// drain hands everything over, waiting for the writer when it must.
func (s *Shard) drain() {
	for n := range s.buffers {
		b := &s.buffers[n]
		if b.file == nil || len(b.bytes) == 0 {
			continue
		}
		b.file.queued.Add(1)
		s.manager.stats.WriteTotalBuffered.Add(int64(len(b.bytes)))
		s.manager.stats.WriteBuffered.Add(b.lines)
		s.manager.queue <- chunk{b.file, b.bytes, false}
		b.bytes, b.lines = nil, 0
	}
}
