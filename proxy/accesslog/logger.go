package accesslog

import (
	"github.com/sluiceproxy/sluice/proxy/format"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

const (
	// chunkBytes is how much a loop collects for a file before it hands the buffer over.
	chunkBytes = 64 << 10
	// queueChunks bounds what waits for the writer: 4 MiB and, while lines are short, little more.
	queueChunks = 64
	// roomBytes is what a new buffer can hold beyond chunkBytes without growing: most last lines.
	roomBytes = 4 << 10
)

// Logger is one compiled access_log entry: where, what and when. Immutable, shared by all loops.
type Logger struct {
	manager *Manager
	file    *file
	filter  *Filter
	text    *format.Formatter
	json    *format.JSONFormatter // nil: text
}

// Shard is one loop's unfinished buffers. Loop-owned.
type Shard struct {
	manager *Manager
	buffers []buffer // by file.slot
}

// buffer collects whole lines for one file.
type buffer struct {
	file  *file // nil while the slot is not in use
	bytes []byte
	lines uint64
}

// Log writes the stream's line when the filter lets it pass. Runs on s's loop at the end of the
// stream; does not allocate once the loop has used the file.
func (l *Logger) Log(s *Shard, i *streaminfo.Info) {
	if l.filter != nil && !l.filter.Match(i) {
		return
	}
	slot := l.file.slot
	if slot >= len(s.buffers) || s.buffers[slot].file != l.file {
		s.adopt(l.file)
	}
	b := &s.buffers[slot]
	if len(b.bytes) >= chunkBytes && !s.handOver(b, false) {
		l.manager.stats.LinesDropped.Inc()
		return
	}
	if b.bytes == nil {
		b.bytes = l.manager.takeBuffer()
	}
	if l.json != nil {
		b.bytes = append(l.json.Append(b.bytes, i), '\n')
	} else {
		b.bytes = l.text.Append(b.bytes, i)
	}
	b.lines++
	if len(b.bytes) >= chunkBytes {
		s.handOver(b, false)
	}
}

// NeedsRequest says whether the line or its filter reads the request head, which then must outlive
// the event that brought it.
func (l *Logger) NeedsRequest() bool {
	if l.filter != nil && l.filter.needsRequest() {
		return true
	}
	if l.json != nil {
		return l.json.NeedsRequest()
	}
	return l.text.NeedsRequest()
}

// NeedsResponse says whether the line reads the response head or its trailers.
func (l *Logger) NeedsResponse() bool {
	if l.json != nil {
		return l.json.NeedsResponse()
	}
	return l.text.NeedsResponse()
}

// Close gives the file back; the last one to do so has it closed once every line is written.
// Nothing may use l any more.
func (l *Logger) Close() { l.file.loggers.Add(-1) }

// Flush hands over what has collected. Runs on the loop, by timer, every flush interval.
func (s *Shard) Flush() {
	for n := range s.buffers {
		b := &s.buffers[n]
		if b.file == nil {
			continue
		}
		if len(b.bytes) > 0 && !s.handOver(b, true) {
			continue // the queue is full: next time
		}
		if b.file.loggers.Load() == 0 {
			s.manager.giveBuffer(b.bytes)
			b.file.users.Add(-1)
			*b = buffer{}
		}
	}
}

// handOver queues b's lines for the writer; false, with b as it was, when the queue is full.
func (s *Shard) handOver(b *buffer, timer bool) bool {
	m := s.manager
	b.file.queued.Add(1)
	m.stats.WriteTotalBuffered.Add(int64(len(b.bytes)))
	select {
	case m.queue <- chunk{b.file, b.bytes, timer}:
		m.stats.WriteBuffered.Add(b.lines)
		b.bytes, b.lines = nil, 0
		return true
	default:
		b.file.queued.Add(-1)
		m.stats.WriteTotalBuffered.Add(-int64(len(b.bytes)))
		return false
	}
}

// adopt makes room for a file this loop has not logged to yet.
func (s *Shard) adopt(f *file) {
	for len(s.buffers) <= f.slot {
		s.buffers = append(s.buffers, buffer{})
	}
	f.users.Add(1)
	s.buffers[f.slot] = buffer{file: f}
}
