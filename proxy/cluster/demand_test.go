package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// book is a provider whose clusters tests change.
type book struct {
	mu       sync.Mutex
	clusters map[string]*conf.Cluster
	err      error
	held     chan struct{} // when set, lookups wait until it is closed or their context ends
	changed  func(string)
	asked    []string
	now, top int // lookups under way
	ended    atomic.Int32
}

func (b *book) Lookup(ctx context.Context, name string) (*conf.Cluster, error) {
	b.mu.Lock()
	b.asked = append(b.asked, name)
	b.now++
	b.top = max(b.top, b.now)
	held := b.held
	b.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			b.ended.Add(1)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now--
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return b.clusters[name], b.err
}

func (b *book) Watch(changed func(string)) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		panic("watched twice")
	}
	b.changed = changed
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed = nil
	}
}

// put sets a cluster, nil removes it, and says so when the manager listens.
func (b *book) put(name string, c *conf.Cluster) {
	b.mu.Lock()
	if b.clusters == nil {
		b.clusters = make(map[string]*conf.Cluster)
	}
	b.clusters[name] = c
	changed := b.changed
	b.mu.Unlock()
	if changed != nil {
		changed(name)
	}
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.asked)
}

// demanded asks and waits for the answer.
func demanded(t *testing.T, m *Manager, p Provider, name string) Outcome {
	t.Helper()
	answers := make(chan Outcome, 1)
	m.RequestOnDemand(p, name, 20*time.Second, func(o Outcome) { answers <- o })
	return answerOf(t, answers)
}

func answerOf(t *testing.T, answers chan Outcome) Outcome {
	t.Helper()
	select {
	case o := <-answers:
		return o
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
		return 0
	}
}

func TestAFoundClusterServesBesideTheConfigured(t *testing.T) { // TCP-30
	var l leavers
	m, r := managed(t, new(zone), Options{ClustersGone: l.add})
	b := new(book)
	b.put("x", static("x", 2))
	apply(t, m, static("a", 1))
	if got := demanded(t, m, b, "x"); got != OnDemandFound {
		t.Fatalf("outcome %v", got)
	}
	x := lookup(m, "x")
	if x == nil || len(x.Hosts().Hosts) != 2 || lookup(m, "a") == nil {
		t.Fatal("the cluster does not serve")
	}
	expectManager(t, r, 2, 0, 0, 2, 0)

	apply(t, m, static("b", 1)) // does not name it
	if lookup(m, "x") != x || lookup(m, "a") != nil {
		t.Error("a configuration that does not name it removed it")
	}
	apply(t, m, static("x", 3))
	if got := lookup(m, "x"); len(got.Hosts().Hosts) != 3 {
		t.Error("the configured one of the same name does not go first")
	}
	apply(t, m)
	if got := lookup(m, "x"); got == nil || len(got.Hosts().Hosts) != 2 {
		t.Error("the found one is not back")
	}
	l.take()

	b.put("x", static("x", 4))
	eventually(t, "the change arrives", func() bool { return len(lookup(m, "x").Hosts().Hosts) == 4 })
	eventually(t, "the former is told", func() bool { return len(l.take()) == 1 })
	b.put("x", nil)
	eventually(t, "the removal arrives", func() bool { return lookup(m, "x") == nil })
	expectGauges(t, r, map[string]int64{"cluster_manager.active_clusters": 0})
	if got := demanded(t, m, b, "x"); got != OnDemandMissing {
		t.Errorf("outcome %v after the removal", got)
	}
	b.put("x", static("x", 1)) // nobody waits for it any more
	eventually(t, "the provider is asked", func() bool { return b.count() >= 5 })
	if lookup(m, "x") != nil {
		t.Error("a cluster that nobody asked for was added")
	}
}

func TestWhatIsNotUsableIsMissing(t *testing.T) {
	m, r := managed(t, new(zone), Options{})
	b := new(book)
	if got := demanded(t, m, b, "none"); got != OnDemandMissing {
		t.Errorf("none: %v", got)
	}
	b.put("other", static("x", 1))
	if got := demanded(t, m, b, "other"); got != OnDemandMissing {
		t.Errorf("another name: %v", got)
	}
	invalid := static("invalid", 1)
	invalid.ConnectTimeout = 0
	b.put("invalid", invalid)
	if got := demanded(t, m, b, "invalid"); got != OnDemandMissing {
		t.Errorf("invalid: %v", got)
	}
	b.put("x", static("x", 1))
	b.err = errors.New("broken")
	if got := demanded(t, m, b, "x"); got != OnDemandMissing {
		t.Errorf("error: %v", got)
	}
	expectManager(t, r, 0, 0, 0, 0, 0)
}

// An update that cannot be read leaves what serves alone.
func TestAnErrorLeavesAFoundClusterAsItIs(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	b := new(book)
	b.put("x", static("x", 1))
	demanded(t, m, b, "x")
	x, asked := lookup(m, "x"), b.count()
	b.mu.Lock()
	b.err = errors.New("broken")
	b.mu.Unlock()
	b.put("x", nil)
	eventually(t, "the provider is asked", func() bool { return b.count() > asked })
	if got := demanded(t, m, b, "x"); got != OnDemandFound || lookup(m, "x") != x {
		t.Errorf("outcome %v", got)
	}
}

func TestAFoundClusterIsWarmBeforeTheAnswer(t *testing.T) {
	for _, wait := range []bool{true, false} { // wait_for_warm_on_init makes no difference
		z := &zone{held: make(chan struct{})}
		z.set("one.test/4", 0, "10.0.0.1", "10.0.0.2")
		m, r := managed(t, z, Options{})
		apply(t, m)
		c := dnsConf("x", "one.test")
		c.WaitForWarm = wait
		b := new(book)
		b.put("x", c)
		answers := make(chan Outcome, 1)
		m.RequestOnDemand(b, "x", 20*time.Second, func(o Outcome) { answers <- o })
		if wait {
			eventually(t, "it warms", func() bool { return gauges(r)["cluster_manager.warming_clusters"] == 1 })
		} else {
			eventually(t, "it serves", func() bool { return lookup(m, "x") != nil })
		}
		select {
		case o := <-answers:
			t.Fatalf("answered %v before the name was resolved", o)
		default:
		}
		close(z.held)
		if got := answerOf(t, answers); got != OnDemandFound || len(lookup(m, "x").Hosts().Hosts) != 2 {
			t.Errorf("outcome %v, hosts %v", got, texts(lookup(m, "x")))
		}
	}
}

func TestOneLookupAnswersAllWhoAsk(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	b := &book{held: make(chan struct{})}
	b.put("x", static("x", 1))
	answers := make(chan Outcome, 100)
	for range cap(answers) {
		m.RequestOnDemand(b, "x", 20*time.Second, func(o Outcome) { answers <- o })
	}
	eventually(t, "the provider is asked", func() bool { return b.count() > 0 })
	close(b.held)
	for range cap(answers) {
		if got := answerOf(t, answers); got != OnDemandFound {
			t.Fatalf("outcome %v", got)
		}
	}
	if got := b.count(); got != 1 {
		t.Errorf("asked %d times", got)
	}
}

func TestLookupsAtATimeAreBounded(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	b := &book{held: make(chan struct{})}
	const names = 3 * maxDemands
	answers := make(chan Outcome, names)
	var dropped *OnDemandRequest
	for i := range names {
		name := fmt.Sprint("x", i)
		b.put(name, static(name, 1))
	}
	for i := range names {
		name := fmt.Sprint("x", i)
		r := m.RequestOnDemand(b, name, 20*time.Second, func(o Outcome) { answers <- o })
		if i == names-1 {
			dropped = r
		}
	}
	eventually(t, "as many as may be are under way", func() bool { return b.count() == maxDemands })
	if !dropped.Cancel() || dropped.Cancel() {
		t.Error("cancelled in time once, and only once")
	}
	close(b.held)
	for range names - 1 {
		if got := answerOf(t, answers); got != OnDemandFound {
			t.Fatalf("outcome %v", got)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.top > maxDemands || len(b.asked) != names-1 {
		t.Errorf("%d at a time, %d in all", b.top, len(b.asked))
	}
}

func TestATimeoutIsItsOwners(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	b := &book{held: make(chan struct{})}
	b.put("x", static("x", 1))
	short, long := make(chan Outcome, 1), make(chan Outcome, 1)
	m.RequestOnDemand(b, "x", 20*time.Second, func(o Outcome) { long <- o })
	m.RequestOnDemand(b, "x", time.Millisecond, func(o Outcome) { short <- o })
	if got := answerOf(t, short); got != OnDemandTimeout {
		t.Errorf("outcome %v", got)
	}
	close(b.held)
	if got := answerOf(t, long); got != OnDemandFound {
		t.Errorf("outcome %v", got)
	}
}

// The last one to leave ends the lookup; who asks next begins another.
func TestCancelling(t *testing.T) {
	m, r := managed(t, new(zone), Options{})
	b := &book{held: make(chan struct{})}
	b.put("x", static("x", 1))
	never := func(o Outcome) { t.Errorf("answered %v", o) }
	first := m.RequestOnDemand(b, "x", 20*time.Second, never)
	second := m.RequestOnDemand(b, "x", 20*time.Second, never)
	eventually(t, "the provider is asked", func() bool { return b.count() == 1 })
	if !first.Cancel() || b.ended.Load() != 0 {
		t.Error("the lookup ended though someone waits")
	}
	if !second.Cancel() {
		t.Error("not cancelled")
	}
	eventually(t, "the lookup ends", func() bool { return b.ended.Load() == 1 })
	expectManager(t, r, 0, 0, 0, 0, 0)
	close(b.held)
	if got := demanded(t, m, b, "x"); got != OnDemandFound {
		t.Errorf("outcome %v", got)
	}
}

// A change while a lookup is under way is not lost, whether someone waits or not.
func TestAChangeDuringALookupCounts(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	b := &book{held: make(chan struct{})}
	b.put("x", static("x", 1))
	var changing sync.Once
	answers := make(chan Outcome, 1)
	m.RequestOnDemand(&late{book: b, after: func() {
		changing.Do(func() { b.put("x", static("x", 5)) })
	}}, "x", 20*time.Second, func(o Outcome) { answers <- o })
	close(b.held)
	if got := answerOf(t, answers); got != OnDemandFound || len(lookup(m, "x").Hosts().Hosts) != 5 {
		t.Errorf("outcome %v, %d hosts", got, len(lookup(m, "x").Hosts().Hosts))
	}
}

// late is a book that changes between its answer and its arrival.
type late struct {
	*book
	after func()
}

func (l *late) Lookup(ctx context.Context, name string) (*conf.Cluster, error) {
	c, err := l.book.Lookup(ctx, name)
	l.after()
	return c, err
}

func TestProviders(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	one, two := new(book), new(book)
	one.put("x", static("x", 1))
	two.put("x", static("x", 2))
	two.put("y", static("y", 2))
	demanded(t, m, one, "x")
	if got := demanded(t, m, two, "x"); got != OnDemandFound || len(lookup(m, "x").Hosts().Hosts) != 1 {
		t.Errorf("outcome %v: the first provider to give a name keeps it", got)
	}
	demanded(t, m, two, "y")

	two.mu.Lock()
	two.held = make(chan struct{})
	two.mu.Unlock()
	answers := make(chan Outcome, 1)
	asked := two.count()
	m.RequestOnDemand(two, "z", 20*time.Second, func(o Outcome) { answers <- o })
	eventually(t, "it is asked", func() bool { return two.count() > asked })
	m.RemoveProvider(two)
	if got := answerOf(t, answers); got != OnDemandMissing {
		t.Errorf("outcome %v", got)
	}
	if lookup(m, "y") != nil || lookup(m, "x") == nil {
		t.Error("what a removed provider gave goes, and nothing else")
	}
	if two.changed != nil || one.changed == nil {
		t.Error("the removed provider is watched, or the other is not")
	}
	m.RemoveProvider(two) // again is nothing
}

func TestNoAnswerAfterClose(t *testing.T) {
	m, _ := managed(t, new(zone), Options{})
	b := &book{held: make(chan struct{})}
	never := func(o Outcome) { t.Errorf("answered %v", o) }
	r := m.RequestOnDemand(b, "x", 20*time.Second, never)
	eventually(t, "it is asked", func() bool { return b.count() > 0 })
	m.Close()
	if r.Cancel() {
		t.Error("nothing was left to cancel")
	}
	if m.RequestOnDemand(b, "x", 0, never).Cancel() {
		t.Error("a request after Close waits")
	}
	if b.changed != nil {
		t.Error("still watched")
	}
}

// Everything at once, for the race detector: every request ends in one way.
func TestDemandsFromManyGoroutines(t *testing.T) {
	z := new(zone)
	z.set("one.test/4", 0, "10.0.0.1")
	m, _ := managed(t, z, Options{})
	b := new(book)
	var wg sync.WaitGroup
	var answered, cancelled atomic.Int32
	const each, goroutines = 200, 4
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprint("x", (g+i)%5)
				switch i % 10 {
				case 3:
					b.put(name, static(name, 1+i%3))
				case 6:
					b.put(name, dnsConf(name, "one.test"))
				case 8:
					b.put(name, nil)
				case 9:
					_ = m.Apply([]*conf.Cluster{static(name, 1)})
				}
				var waiting sync.WaitGroup
				waiting.Add(1)
				r := m.RequestOnDemand(b, name, 20*time.Second, func(Outcome) { answered.Add(1); waiting.Done() })
				if i%4 == 0 && r.Cancel() {
					cancelled.Add(1)
					continue
				}
				waiting.Wait()
			}
		})
	}
	wg.Wait()
	if got := answered.Load() + cancelled.Load(); got != each*goroutines {
		t.Errorf("%d answered and %d cancelled of %d", answered.Load(), cancelled.Load(), each*goroutines)
	}
}
