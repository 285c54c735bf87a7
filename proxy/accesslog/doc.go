// Package accesslog writes one line per stream to files, stdout or stderr (operations.md 4).
//
//	loop:    Logger.Log -> filter -> format into the shard's buffer of that file
//	                                       | 64 KiB full, or the flush timer
//	                                       v
//	writer:  one goroutine        <- bounded queue of buffers -> write(2), buffer goes back
//
// A loop never waits for a disk: while the queue is full lines are dropped and counted
// (filesystem.lines_dropped). Loggers of one path share one file, and lines of different loops never
// mix, because a buffer holds whole lines. Open logger.go for the hot half, manager.go and writer.go
// for the cold one.
package accesslog
