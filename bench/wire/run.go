package wire

import (
	"embed"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"time"
)

//go:embed cases/*.txt
var caseFiles embed.FS

// Corpus returns all cases of the package.
func Corpus() ([]*Case, error) {
	sub, err := fs.Sub(caseFiles, "cases")
	if err != nil {
		return nil, err
	}
	return Load(sub)
}

// Options says how cases are run. The zero value is good.
type Options struct {
	// Timeout bounds every single wait of a case. Default 3 s.
	Timeout time.Duration
	// Workers is the number of proxy instances that run at a time. Default: the processors.
	Workers int
	// Cut, when positive, sends the client's bytes in pieces of that many, each by a write of its
	// own. What must hold does not change: how bytes are cut has no meaning in HTTP. The listed
	// differences of a peer may.
	Cut int
	// OriginAddr is where the origin listens, for a target that cannot be told. Default any port;
	// when set, Workers is 1.
	OriginAddr string
}

// Outcome is how a case went on one target.
type Outcome uint8

// The outcomes. Fails and Stale want somebody to look.
const (
	Pass          Outcome = iota
	Differs               // not as we want it, and listed so
	Fails                 // not as we want it
	Stale                 // listed as different, and is not
	NotApplicable         // the target has no counterpart of the profile
)

// String returns the word used in reports.
func (o Outcome) String() string {
	return [...]string{"pass", "differs", "FAIL", "STALE", "n/a"}[o]
}

// Result is the outcome of one case. Bad holds what did not hold, a line each, possibly continued by
// indented lines.
type Result struct {
	Case    *Case
	Outcome Outcome
	Bad     []string
}

// shardCases is how many cases share one proxy instance at most.
const shardCases = 40

// Run runs cases against t and returns a result for each, in the same order. Where the target does
// not start for a profile, its cases fail and the first of them tells why.
func Run(t Target, cases []*Case, opt Options) []Result {
	if opt.Timeout == 0 {
		opt.Timeout = 3 * time.Second
	}
	if opt.Workers == 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.OriginAddr == "" {
		opt.OriginAddr = "127.0.0.1:0"
	} else {
		opt.Workers = 1
	}
	results := make([]Result, len(cases))
	work := make(chan []int)
	var wg sync.WaitGroup
	for range opt.Workers {
		wg.Go(func() {
			for shard := range work {
				runShard(t, cases, shard, opt, results)
			}
		})
	}
	for _, shard := range shards(cases) {
		work <- shard
	}
	close(work)
	wg.Wait()
	return results
}

// shards groups the indexes of cases by profile, a bounded number in each.
func shards(cases []*Case) [][]int {
	var out [][]int
	open := map[string]int{} // profile -> index in out
	for i, c := range cases {
		at, ok := open[c.Profile]
		if !ok || len(out[at]) == shardCases {
			at = len(out)
			out = append(out, nil)
			open[c.Profile] = at
		}
		out[at] = append(out[at], i)
	}
	return out
}

// runShard fills in the results of the cases at the indexes of shard, which share a profile.
func runShard(t Target, cases []*Case, shard []int, opt Options, results []Result) {
	name := cases[shard[0]].Profile
	all := func(o Outcome, first, others []string) {
		for _, i := range shard {
			results[i] = Result{Case: cases[i], Outcome: o, Bad: first}
			first = others
		}
	}
	o, err := newOrigin(opt.OriginAddr)
	if err != nil {
		all(Fails, []string{err.Error()}, []string{"no origin"})
		return
	}
	defer o.close()
	addr, stop, err := t.Start(name, o.addr())
	switch {
	case errors.Is(err, ErrNoProfile):
		all(NotApplicable, nil, nil)
		return
	case err != nil:
		all(Fails, []string{"the target does not start: " + err.Error()}, []string{"the target does not start"})
		return
	}
	defer stop()
	for _, i := range shard {
		c := cases[i]
		results[i] = judge(c, t.Name, runCase(c, addr, o, opt))
	}
}

func judge(c *Case, target string, bad []string) Result {
	_, listed := c.Differs[target]
	r := Result{Case: c, Bad: bad}
	switch {
	case len(bad) == 0 && listed && !c.Varies[target]:
		r.Outcome = Stale
		r.Bad = []string{"passes, but is listed as different: " + c.Differs[target]}
	case len(bad) > 0 && listed:
		r.Outcome = Differs
	case len(bad) > 0:
		r.Outcome = Fails
	}
	return r
}

// runCase plays one case and returns what did not hold.
func runCase(c *Case, addr string, o *origin, opt Options) []string {
	o.begin(c.Answers)
	var bad []string
	cl, err := dial(addr, opt.Timeout, opt.Cut)
	if err != nil {
		bad = append(bad, "client: "+err.Error())
	} else {
		bad = cl.play(c.Client)
		cl.conn.Close()
	}
	if b := sentinel(profiles[c.Profile].preamble, addr, opt.Timeout); len(b) > 0 {
		bad = append(bad, "after the case, the proxy does not serve a new client")
		bad = append(bad, b...)
	}
	seen, sentinels, err := o.end()
	if err != nil {
		return append(bad, "origin: "+err.Error())
	}
	if sentinels == 0 {
		bad = append(bad, "origin: never saw the request of the new client")
	}
	for _, m := range seen {
		if strings.Contains(string(m.body), sentinelPath) {
			m.fault("the request of another client became part of its body")
		}
	}
	return append(bad, compareOrigin(&c.Origin, seen)...)
}

// sentinel has one request served on a new connection. Once the origin has seen it, whatever the
// proxy forwarded of the case before has reached the origin too. A gateway error is tried again: the
// proxy may have taken a pooled connection that the origin of the case was just closing.
func sentinel(preamble, addr string, timeout time.Duration) []string {
	var bad []string
	for range 3 {
		cl, err := dial(addr, timeout, 0)
		if err != nil {
			return []string{err.Error()}
		}
		cl.send([]byte(preamble + "GET " + sentinelPath + " HTTP/1.1\r\nHost: wire\r\nConnection: close\r\n\r\n"))
		body := sentinelPath
		bad = cl.gets(&Message{Statuses: []int{200}, Body: &body})
		cl.conn.Close()
		if len(bad) == 0 || !strings.Contains(bad[0], "got 50") {
			break
		}
	}
	return bad
}
