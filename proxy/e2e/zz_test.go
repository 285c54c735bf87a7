package e2e

import (
	"testing"
	"time"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime/pprof"; "github.com/sluiceproxy/sluice/proxy/worker"
	"github.com/sluiceproxy/sluice/proxy/e2e/harness"
)

func TestZZ(t *testing.T) {
	o := harness.NewOrigin(t, "a")
	top := one(o)
	top.NotSettled = true
	p := harness.Start(t, top)
	addr := p.Addr
	if os.Getenv("DIRECT") != "" { addr = o.Address() }
	client := &http.Client{Transport: &http.Transport{WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}}
	end := time.Now().Add(40*time.Second)
	for i := 0; time.Now().Before(end); i++ {
		what := ""
		stop := time.AfterFunc(2*time.Second, func() {
			fmt.Println("STALL at", i, what, "proxy", p.Addr, "origin", o.Address())
			out, _ := exec.Command("sh", "-c", "ss -tniO | grep -E '"+p.Addr+"|"+o.Address()+"'").CombinedOutput(); fmt.Println("origin requests", o.Requests()); p.OnLoops(func(w *worker.Worker) { fmt.Println("slabs", w.Loop.Slabs().InUse(), w.Loop.Conns()) })
			fmt.Println(string(out))
			for k, v := range p.Stats() { if v != 0 && k[0]!='s' { fmt.Println(k, v) } }
			pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
			os.Exit(1)
		})
		for _, n := range bodySizes[:len(bodySizes)-1] {
			for _, path := range []string{"/bytes/", "/chunked/"} {
				what = fmt.Sprint("download", path, n)
				download(t, client, addr, path, n)
			}
			for _, c := range []bool{false, true} {
				what = fmt.Sprint("upload", c, n)
				upload(t, client, addr, n, c)
			}
		}
		stop.Stop()
	}
}
