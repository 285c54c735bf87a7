package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/bench"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

// maxMallocsPerRequest is what the whole process may allocate for a keep-alive request, the log line,
// the timers of the runtime and everything else included.
const maxMallocsPerRequest = 0.02

// The binary itself, under load.
func TestTheProcessDoesNotAllocatePerRequest(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and loads the binary")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "sluice")
	harness.Run(t, harness.Tool(t, "go"), "build", "-o", binary, "github.com/sluiceproxy/sluice/cmd/sluice")
	harness.NoLeaks(t)
	o := harness.NewOrigin(t, "a")
	top := one(o)
	top.LogFormat = "[%START_TIME%] %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %DURATION% %REQ(X-REQUEST-ID)% %UPSTREAM_HOST%"
	top.Bootstrap = "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }"
	config := filepath.Join(dir, "sluice.yaml")
	if err := os.WriteFile(config, []byte(top.YAML(filepath.Join(t.TempDir(), "log"))), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := startBinary(t, binary, config, filepath.Join(dir, "admin"))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.Patience}
	addr := ""
	harness.Eventually(t, "the proxy is live", func() bool {
		body, err := fetch(client, "http://"+admin+"/ready")
		if err != nil || !strings.HasPrefix(body, "LIVE") {
			return false
		}
		listeners, err := fetch(client, "http://"+admin+"/listeners")
		_, addr, _ = strings.Cut(strings.TrimSpace(listeners), "::")
		return err == nil
	})
	run := func(requests int64) {
		r, err := bench.Run(context.Background(), bench.Load{
			Addr: addr, Path: "/bytes/100", Conns: 16, Duration: time.Minute, MaxRequests: requests, WantBytes: 100,
		})
		if errors.Is(err, bench.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil || r.Errors.Total() > 0 {
			t.Fatalf("load: %v, errors: %s", err, r.Errors.String())
		}
	}
	const done = 100_000
	run(done / 10)
	mallocs := mallocsOf(t, client, admin)
	run(done)
	if per := float64(mallocsOf(t, client, admin)-mallocs) / float64(done); per > maxMallocsPerRequest {
		t.Errorf("%.4f allocations per request over %d requests, at most %v are allowed", per, done, maxMallocsPerRequest)
	} else {
		t.Logf("%.4f allocations per request over %d requests", per, done)
	}
}

// startBinary runs the binary with one loop until the end of the test, and returns its admin address.
func startBinary(t *testing.T, binary, config, adminFile string) string {
	t.Helper()
	cmd := exec.Command(binary, "-c", config, "--concurrency", "1", "--admin-address-path", adminFile, "-l", "error")
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() { b, _ := io.ReadAll(bufio.NewReader(pipe)); said <- string(b) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		text := <-said
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy ended with %v: %s", err, text)
		}
	})
	address := ""
	harness.Eventually(t, "the admin listener's address is written", func() bool {
		b, err := os.ReadFile(adminFile)
		address = string(b)
		return err == nil && address != ""
	})
	return address
}

func fetch(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func mallocsOf(t *testing.T, client *http.Client, admin string) int64 {
	t.Helper()
	body, err := fetch(client, "http://"+admin+"/memory")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(m["go_mallocs"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
