package accesslog

import (
	"errors"
	"log/slog"
	"time"
)

// keepBytes bounds the buffers that are kept for reuse.
const keepBytes = 2 * chunkBytes

// write is the writer goroutine: it alone touches the open files.
func (m *Manager) write() {
	defer close(m.stopped)
	sweep := time.NewTicker(m.flushInterval)
	defer sweep.Stop()
	for {
		select {
		case c := <-m.queue:
			m.writeChunk(c)
		case answer := <-m.reopen:
			answer <- m.reopenFiles()
		case <-sweep.C:
			m.closeUnused()
		case <-m.stop:
			m.finish()
			return
		}
	}
}

func (m *Manager) writeChunk(c chunk) {
	_, err := c.file.out.Write(c.bytes)
	if err != nil {
		m.stats.WriteFailed.Inc()
	} else {
		m.stats.WriteCompleted.Inc()
	}
	if c.timer {
		m.stats.FlushedByTimer.Inc()
	}
	if failing := err != nil; failing != c.file.failing {
		c.file.failing = failing
		if failing {
			m.logger.Error("access log cannot be written; its lines are lost", slog.String("path", c.file.path), slog.Any("error", err))
		} else {
			m.logger.Info("access log is written again", slog.String("path", c.file.path))
		}
	}
	m.stats.WriteTotalBuffered.Add(-int64(len(c.bytes)))
	m.giveBuffer(c.bytes)
	c.file.queued.Add(-1)
}

func (m *Manager) reopenFiles() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var failed error
	for _, f := range m.files {
		if f == nil || f.std {
			continue
		}
		out, err := openFile(f.path)
		if err != nil {
			m.stats.ReopenFailed.Inc()
			m.logger.Error("access log cannot be opened again; going on with the old file", slog.String("path", f.path), slog.Any("error", err))
			failed = errors.Join(failed, err)
			continue
		}
		m.closeFile(f)
		f.out = out
	}
	return failed
}

// closeUnused closes files that no Logger, no loop and no chunk refers to.
func (m *Manager) closeUnused() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for slot, f := range m.files {
		if f != nil && f.loggers.Load() == 0 && f.users.Load() == 0 && f.queued.Load() == 0 {
			m.closeFile(f)
			m.files[slot] = nil
		}
	}
}

func (m *Manager) closeFile(f *file) {
	if f.std {
		return
	}
	if err := f.out.Close(); err != nil {
		m.logger.Error("access log did not close", slog.String("path", f.path), slog.Any("error", err))
	}
}

// finish writes what is queued and closes everything.
func (m *Manager) finish() {
	for {
		select {
		case c := <-m.queue:
			m.writeChunk(c)
			continue
		default:
		}
		break
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for slot, f := range m.files {
		if f != nil {
			m.closeFile(f)
			m.files[slot] = nil
		}
	}
}

// takeBuffer returns an empty buffer. Any loop; does not wait.
func (m *Manager) takeBuffer() []byte {
	select {
	case b := <-m.free:
		return b
	default:
		return make([]byte, 0, chunkBytes+roomBytes)
	}
}

// giveBuffer takes a buffer back for reuse, unless it grew too large or there are enough.
func (m *Manager) giveBuffer(b []byte) {
	if cap(b) == 0 || cap(b) > keepBytes {
		return
	}
	select {
	case m.free <- b[:0]:
	default:
	}
}
