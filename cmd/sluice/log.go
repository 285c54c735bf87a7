package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// Levels of Envoy that slog has no name for.
const (
	levelTrace    = slog.LevelDebug - 4
	levelCritical = slog.LevelError + 4
	levelOff      = slog.Level(1 << 20)
)

var levelNames = []struct {
	name  string
	level slog.Level
}{
	{"trace", levelTrace},
	{"debug", slog.LevelDebug},
	{"info", slog.LevelInfo},
	{"warning", slog.LevelWarn},
	{"error", slog.LevelError},
	{"critical", levelCritical},
	{"off", levelOff},
}

func parseLevel(name string) (slog.Level, bool) {
	if name == "warn" {
		name = "warning"
	}
	for _, l := range levelNames {
		if l.name == name {
			return l.level, true
		}
	}
	return 0, false
}

// logger is the operational log: its level can be changed and its file re-opened while it runs.
type logger struct {
	*slog.Logger
	level slog.LevelVar
	path  string

	mu   sync.Mutex
	file io.Writer
}

func newLogger(path, level string) (*logger, error) {
	l := &logger{path: path, file: os.Stderr}
	v, ok := parseLevel(level)
	if !ok {
		return nil, fmt.Errorf("--log-level: %q is not a level", level)
	}
	l.level.Set(v)
	if path != "" {
		if err := l.reopen(); err != nil {
			return nil, err
		}
	}
	l.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: &l.level}))
	return l, nil
}

// Write implements io.Writer for the handler.
func (l *logger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

// reopen opens the log file anew, after it was moved away.
func (l *logger) reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("--log-path: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.file.(*os.File); ok && old != os.Stderr {
		old.Close()
	}
	l.file = f
	return nil
}

// Level returns the level's name, for /logging.
func (l *logger) Level() string {
	v := l.level.Level()
	for _, n := range levelNames {
		if n.level == v {
			return n.name
		}
	}
	return v.String()
}

// SetLevel changes the level; false when the name is unknown.
func (l *logger) SetLevel(name string) bool {
	v, ok := parseLevel(name)
	if ok {
		l.level.Set(v)
	}
	return ok
}
