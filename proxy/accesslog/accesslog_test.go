package accesslog

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluiceproxy/sluice/codec/header"
	"github.com/sluiceproxy/sluice/proxy/conf"
	"github.com/sluiceproxy/sluice/proxy/reason"
	"github.com/sluiceproxy/sluice/proxy/stats"
	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// newManager returns a manager whose timer never gets in the way, with its stats.
func newManager(t testing.TB) (*Manager, *stats.Registry) {
	m := NewManager(time.Hour, quiet())
	r := stats.NewRegistry()
	m.SetStats(r)
	t.Cleanup(m.Close)
	return m, r
}

func compile(t testing.TB, m *Manager, path, format string) *Logger {
	t.Helper()
	l, err := m.Compile(&conf.AccessLog{Path: path, Format: &conf.Format{Text: format}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func counter(r *stats.Registry, name string) int64 {
	m := r.Collect()
	for _, c := range m.Counters {
		if c.Name == "filesystem."+name {
			return int64(c.Value)
		}
	}
	for _, g := range m.Gauges {
		if g.Name == "filesystem."+name {
			return g.Value
		}
	}
	return -1
}

// eventually polls until is holds.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func request(fields ...string) *header.Head {
	h := new(header.Head)
	h.Reset(nil)
	h.SetMethod(header.MethodGet, "GET")
	h.SetPath([]byte("/a?b"))
	h.SetAuthority([]byte("example.com"))
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.AddString(header.Lookup([]byte(name)), name, value)
	}
	return h
}

func TestDefaultLineIsEnvoys(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l, err := m.Compile(&conf.AccessLog{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	resp := request("x-envoy-upstream-service-time: 100")
	i := &streaminfo.Info{
		Request:     request("x-forwarded-for: 10.0.35.28", "user-agent: nsq2http", "x-request-id: cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2"),
		Response:    resp,
		StartUnixNs: time.Date(2016, 4, 15, 20, 17, 0, 310_000_000, time.UTC).UnixNano(),
		Start:       1, End: 1 + int64(226*time.Millisecond), Protocol: header.HTTP11, ResponseCode: 204, BytesReceived: 154,
		UpstreamAddress: netip.MustParseAddrPort("10.0.2.1:80"),
	}
	s := m.NewShard()
	l.Log(s, i)
	l.Log(s, &streaminfo.Info{})
	l.Log(s, &streaminfo.Info{ // TCP-65
		StartUnixNs: i.StartUnixNs, Start: 1, End: 1 + int64(7*time.Millisecond), Flags: reason.DurationTimeout, BytesReceived: 12, BytesSent: 34,
		LogType: streaminfo.TCPConnectionEnd, UpstreamAddress: i.UpstreamAddress,
	})
	m.Close()
	want := `[2016-04-15T20:17:00.310Z] "GET /a?b HTTP/1.1" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "example.com" "10.0.2.1:80"` + "\n" +
		`[-] "- - -" 0 - 0 0 - - "-" "-" "-" "-" "-"` + "\n" +
		`[2016-04-15T20:17:00.310Z] "- - -" 0 DT 12 34 7 - "-" "-" "-" "-" "10.0.2.1:80"` + "\n"
	if got := content(t, path); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	if !l.NeedsRequest() || !l.NeedsResponse() {
		t.Error("the default line reads both heads")
	}
}

func TestJSONLinesEndInALineBreak(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l, err := m.Compile(&conf.AccessLog{Path: path, Format: &conf.Format{
		OmitEmptyValues: true,
		JSON:            &conf.JSONObject{Keys: []string{"code", "route"}, Values: []any{"%RESPONSE_CODE%", "%ROUTE_NAME%"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewShard()
	l.Log(s, &streaminfo.Info{ResponseCode: 200})
	l.Log(s, &streaminfo.Info{ResponseCode: 404, RouteName: "r"})
	m.Close()
	if got, want := content(t, path), "{\"code\":200}\n{\"code\":404,\"route\":\"r\"}\n"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if l.NeedsRequest() || l.NeedsResponse() {
		t.Error("this line reads no head")
	}
}

func TestOmitEmptyValuesInText(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l, err := m.Compile(&conf.AccessLog{Path: path, Format: &conf.Format{Text: "<%ROUTE_NAME%>\n", OmitEmptyValues: true}})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(m.NewShard(), &streaminfo.Info{})
	m.Close()
	if got := content(t, path); got != "<>\n" {
		t.Fatalf("got %q", got)
	}
}

func TestLinesWaitForTheFlushTimer(t *testing.T) {
	m, r := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l := compile(t, m, path, "%RESPONSE_CODE%\n")
	s := m.NewShard()
	l.Log(s, &streaminfo.Info{ResponseCode: 200})
	l.Log(s, &streaminfo.Info{ResponseCode: 201})
	if got := content(t, path); got != "" {
		t.Fatalf("%q was written before the timer", got)
	}
	s.Flush()
	s.Flush() // nothing more to do
	eventually(t, "the lines are in the file", func() bool { return content(t, path) == "200\n201\n" })
	eventually(t, "nothing is buffered", func() bool { return counter(r, "write_total_buffered") == 0 })
	for name, want := range map[string]int64{"write_buffered": 2, "write_completed": 1, "flushed_by_timer": 1, "write_failed": 0, "lines_dropped": 0} {
		if got := counter(r, name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

func TestAFullBufferGoesOutAtOnce(t *testing.T) {
	m, r := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l := compile(t, m, path, "%LOCAL_REPLY_BODY%\n")
	s := m.NewShard()
	line := &streaminfo.Info{LocalReplyBody: bytes.Repeat([]byte("x"), 1023)}
	for range chunkBytes / 1024 {
		l.Log(s, line)
	}
	eventually(t, "64 KiB are in the file", func() bool { return len(content(t, path)) == chunkBytes })
	if counter(r, "flushed_by_timer") != 0 || counter(r, "write_buffered") != chunkBytes/1024 {
		t.Error("counted as a timer's, or not at all")
	}
}

func TestLoggersOfOnePathShareAFile(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	a, b := compile(t, m, path, "a\n"), compile(t, m, path, "b\n")
	if a.file != b.file {
		t.Fatal("two files for one path")
	}
	other := compile(t, m, path+"2", "c\n")
	s := m.NewShard()
	for range 3 {
		a.Log(s, &streaminfo.Info{})
		b.Log(s, &streaminfo.Info{})
		other.Log(s, &streaminfo.Info{})
	}
	m.Close()
	if got := content(t, path); got != "a\nb\na\nb\na\nb\n" {
		t.Errorf("got %q", got)
	}
	if got := content(t, path+"2"); got != "c\nc\nc\n" {
		t.Errorf("got %q", got)
	}
}

func TestExistingLinesStay(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compile(t, m, path, "new\n").Log(m.NewShard(), &streaminfo.Info{})
	m.Close()
	if got := content(t, path); got != "old\nnew\n" {
		t.Fatalf("got %q", got)
	}
}

func TestReopenFollowsTheName(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l := compile(t, m, path, "%RESPONSE_CODE%\n")
	s := m.NewShard()
	l.Log(s, &streaminfo.Info{ResponseCode: 1})
	s.Flush()
	eventually(t, "the first line is written", func() bool { return content(t, path) == "1\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := m.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Log(s, &streaminfo.Info{ResponseCode: 2})
	m.Close()
	if old, now := content(t, path+".1"), content(t, path); old != "1\n" || now != "2\n" {
		t.Fatalf("old file %q, new file %q", old, now)
	}
}

func TestReopenThatFailsGoesOnWithTheOldFile(t *testing.T) {
	m, r := newManager(t)
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l := compile(t, m, filepath.Join(dir, "log"), "line\n")
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	if err := m.Reopen(); err == nil {
		t.Fatal("no error")
	}
	l.Log(m.NewShard(), &streaminfo.Info{})
	m.Close()
	if got := content(t, filepath.Join(dir+"2", "log")); got != "line\n" || counter(r, "reopen_failed") != 1 {
		t.Fatalf("got %q, reopen_failed %d", got, counter(r, "reopen_failed"))
	}
	if m.Reopen() == nil {
		t.Fatal("a closed manager re-opened files")
	}
}

func TestAPathThatCannotBeOpenedIsAnError(t *testing.T) {
	m, _ := newManager(t)
	for _, c := range []*conf.AccessLog{
		{Path: filepath.Join(t.TempDir(), "none", "log")},
		{Path: ""},
		{Path: "a\x00b"},
		{Path: "x", Format: &conf.Format{Text: "%NOPE%"}},
		{Path: "x", Format: &conf.Format{JSON: &conf.JSONObject{Keys: []string{"a"}, Values: []any{"%NOPE%"}}}},
		{Path: "x", Filter: &conf.LogFilter{Kind: conf.FilterAnd}},
	} {
		if _, err := m.Compile(c); err == nil {
			t.Errorf("%+v compiles", c)
		}
	}
	if len(m.files) != 0 {
		t.Error("an error left a file open")
	}
}

func TestUnusedFilesAreClosedAndTheirSlotsReused(t *testing.T) {
	m := NewManager(5*time.Millisecond, quiet())
	defer m.Close()
	dir := t.TempDir()
	s := m.NewShard()
	first := compile(t, m, filepath.Join(dir, "1"), "1\n")
	first.Log(s, &streaminfo.Info{})
	first.Close()
	used := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := 0
		for _, f := range m.files {
			if f != nil {
				n++
			}
		}
		return n
	}
	if used() != 1 {
		t.Fatal("a file with lines in a loop's buffer was closed")
	}
	s.Flush()
	eventually(t, "the file is closed", func() bool { return used() == 0 })
	if got := content(t, filepath.Join(dir, "1")); got != "1\n" {
		t.Fatalf("got %q", got)
	}
	second := compile(t, m, filepath.Join(dir, "2"), "2\n")
	if second.file.slot != first.file.slot {
		t.Fatal("slots grow for ever")
	}
	second.Log(s, &streaminfo.Info{})
	again := compile(t, m, filepath.Join(dir, "2"), "3\n")
	second.Close()
	s.Flush()
	again.Log(s, &streaminfo.Info{})
	m.Close()
	if got := content(t, filepath.Join(dir, "2")); got != "2\n3\n" {
		t.Fatalf("got %q", got)
	}
}

// A disk that hangs: the pipe's reader takes nothing until it is told to.
func TestAFullQueueDropsLinesAndNeverBlocksTheLoop(t *testing.T) {
	m, r := newManager(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	l := compile(t, m, path, "%LOCAL_REPLY_BODY%\n")
	if err := l.file.out.Close(); err != nil {
		t.Fatal(err)
	}
	l.file.out = writer
	s := m.NewShard()
	line := &streaminfo.Info{LocalReplyBody: bytes.Repeat([]byte("x"), 16<<10-1)}
	const lines = (queueChunks + 20) * 4
	for range lines {
		l.Log(s, line) // would hang here
	}
	s.Flush()
	dropped := counter(r, "lines_dropped")
	if dropped == 0 || dropped > lines-queueChunks*4 {
		t.Fatalf("%d of %d lines dropped", dropped, lines)
	}
	if got := counter(r, "write_total_buffered"); got < queueChunks*chunkBytes || got > (queueChunks+1)*(chunkBytes+roomBytes) {
		t.Fatalf("%d bytes wait", got)
	}
	var read sync.WaitGroup
	var got []byte
	var readErr error
	read.Go(func() { got, readErr = io.ReadAll(reader) })
	m.Close()
	read.Wait()
	if readErr != nil {
		t.Fatal(readErr)
	}
	if int64(len(got)) != (lines-dropped)*(16<<10) {
		t.Fatalf("%d bytes came out for %d lines kept", len(got), lines-dropped)
	}
	if n := counter(r, "write_total_buffered"); n != 0 {
		t.Fatalf("%d bytes are left over", n)
	}
	reader.Close()
}

func TestAWriteThatFailsIsCountedAndSaidOnce(t *testing.T) {
	var said bytes.Buffer
	m := NewManager(time.Hour, slog.New(slog.NewTextHandler(&said, nil)))
	r := stats.NewRegistry()
	m.SetStats(r)
	path := filepath.Join(t.TempDir(), "log")
	l := compile(t, m, path, "x\n")
	good := l.file.out
	bad, err := os.Open(path) // for reading only
	if err != nil {
		t.Fatal(err)
	}
	l.file.out = bad
	s := m.NewShard()
	for range 3 {
		l.Log(s, &streaminfo.Info{})
		s.Flush()
	}
	eventually(t, "three writes fail", func() bool { return counter(r, "write_failed") == 3 })
	if err := m.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Log(s, &streaminfo.Info{})
	m.Close()
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "x\n" {
		t.Fatalf("got %q", got)
	}
	if n := strings.Count(said.String(), "cannot be written"); n != 1 || !strings.Contains(said.String(), "written again") {
		t.Fatalf("said %s", said.String())
	}
}

func TestStandardStreams(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	oldOut, oldErr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = writer, writer
	m := NewManager(time.Hour, quiet())
	s := m.NewShard()
	for _, sink := range []conf.AccessLogSink{conf.SinkStdout, conf.SinkStderr, conf.SinkStdout} {
		l, err := m.Compile(&conf.AccessLog{Sink: sink, Format: &conf.Format{Text: fmt.Sprint("sink ", sink, "\n")}})
		if err != nil {
			t.Fatal(err)
		}
		l.Log(s, &streaminfo.Info{})
	}
	os.Stdout, os.Stderr = oldOut, oldErr
	if len(m.files) != 2 {
		t.Errorf("%d files", len(m.files))
	}
	reopened := m.Reopen()
	m.Close()
	if _, err := writer.WriteString("still open\n"); err != nil || reopened != nil {
		t.Fatal("a standard stream was closed", err, reopened)
	}
	writer.Close()
	got, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if want := "sink 1\nsink 1\nsink 2\nstill open\n"; string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// Several loops, one file, all sizes of lines, rotation: every line that is not counted as dropped
// arrives whole, once and in the order of its loop.
func TestLinesOfSeveralLoopsNeverMix(t *testing.T) {
	m := NewManager(time.Millisecond, quiet())
	r := stats.NewRegistry()
	m.SetStats(r)
	path := filepath.Join(t.TempDir(), "log")
	const loops, each = 4, 3000
	var running sync.WaitGroup
	for n := range loops {
		l, s := compile(t, m, path, "%RESPONSE_CODE% %BYTES_SENT% %LOCAL_REPLY_BODY%\n"), m.NewShard()
		running.Go(func() {
			for i := range each {
				body := bytes.Repeat([]byte{byte('a' + n)}, i%200)
				l.Log(s, &streaminfo.Info{ResponseCode: uint16(n), BytesSent: uint64(i), LocalReplyBody: body})
				if i%97 == 0 {
					s.Flush()
				}
			}
		})
	}
	stop := make(chan struct{})
	var rotating sync.WaitGroup
	rotating.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := m.Reopen(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	running.Wait()
	close(stop)
	rotating.Wait()
	m.Close()
	next := make([]int, loops)
	lines := counter(r, "lines_dropped")
	for line := range strings.Lines(content(t, path)) {
		var n, i int
		var body string
		if _, err := fmt.Sscanf(line, "%d %d %s", &n, &i, &body); err != nil && i%200 != 0 {
			t.Fatalf("%q: %v", line, err)
		}
		if i < next[n] || body != strings.Repeat(string(rune('a'+n)), i%200) {
			t.Fatalf("loop %d, after line %d: %q", n, next[n]-1, line)
		}
		next[n] = i + 1
		lines++
	}
	if lines != loops*each {
		t.Errorf("%d lines written or dropped, want %d", lines, loops*each)
	}
}

func TestFilteredStreamsLeaveNoLine(t *testing.T) {
	m, _ := newManager(t)
	path := filepath.Join(t.TempDir(), "log")
	l, err := m.Compile(&conf.AccessLog{
		Path: path, Format: &conf.Format{Text: "%RESPONSE_CODE%\n"},
		Filter: &conf.LogFilter{Kind: conf.FilterStatusCode, Compare: conf.CompareGE, Value: 500},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewShard()
	for _, code := range []uint16{200, 503, 404, 500} {
		l.Log(s, &streaminfo.Info{ResponseCode: code, Reason: reason.ViaUpstream})
	}
	m.Close()
	if got := content(t, path); got != "503\n500\n" {
		t.Fatalf("got %q", got)
	}
}
