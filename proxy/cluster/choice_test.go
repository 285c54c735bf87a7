package cluster

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// String is for messages of tests.
func (c *Criteria) String() string {
	if c == nil {
		return "none"
	}
	var out []string
	for _, p := range c.pairs {
		out = append(out, p.key+"="+string(p.value))
	}
	return strings.Join(out, " ")
}

func TestCriteriaMergeInOrder(t *testing.T) { // TCP-20
	filter := NewCriteria(conf.LBMetadata{"stage": `"prod"`, "v": `"1"`})
	weighted := NewCriteria(conf.LBMetadata{"v": `"2"`, "zone": `3`})
	var c Criteria
	for range 2 { // the second time in the memory of the first
		c.Reset()
		c.Merge(filter)
		c.Merge(nil)
		c.Merge(weighted)
		c.SetText("a", []byte("x"))
		c.SetText("stage", []byte("canary"))
		if got, want := c.String(), `a="x stage="canary v="2 zone=3`; got != want {
			t.Errorf("merged %s, want %s", got, want)
		}
	}
	if filter.String() != `stage="prod v="1` || weighted.String() != `v="2 zone=3` {
		t.Errorf("the configuration changed: %v, %v", filter, weighted)
	}
}

func TestNoMetadataIsNoCriteria(t *testing.T) {
	if c := NewCriteria(conf.LBMetadata{}); c != nil {
		t.Errorf("%v", c)
	}
}

// However a string is written in JSON it is the same; no other value is.
func TestValuesOfCriteria(t *testing.T) {
	for _, row := range []struct {
		a, b string
		same bool
	}{
		{`"a"`, `"a"`, true},
		{`"a<b"`, `"a\u003cb"`, true},
		{`"\""`, `"\u0022"`, true},
		{`"é"`, `"\u00e9"`, true},
		{`"1"`, `1`, false},
		{`true`, `"true"`, false},
		{`null`, `"null"`, false},
		{`"a"`, `"b"`, false},
		{`""`, `"\""`, false},
		{`{"a":1}`, `{"a":1}`, true},
	} {
		a, b := NewCriteria(conf.LBMetadata{"k": row.a}), NewCriteria(conf.LBMetadata{"k": row.b})
		if got := a.hash == b.hash && samePairs(a.pairs, b.pairs); got != row.same {
			t.Errorf("%s and %s are the same: %v", row.a, row.b, got)
		}
	}
	var c Criteria
	c.SetText("k", []byte("a<b"))
	if want := NewCriteria(conf.LBMetadata{"k": `"a<b"`}); c.hash != want.hash || !samePairs(c.pairs, want.pairs) {
		t.Errorf("%v is not %v", &c, want)
	}
}

// Any order of merging and setting ends in what a map would.
func TestCriteriaAreLikeAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var c Criteria
		c.SetText("left", []byte("over"))
		c.Reset()
		model := conf.LBMetadata{}
		for range rapid.IntRange(0, 12).Draw(rt, "steps") {
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "key")
			value := rapid.SampledFrom([]string{"", "x", "yy"}).Draw(rt, "value")
			if rapid.Bool().Draw(rt, "text") {
				c.SetText(key, []byte(value))
			} else {
				c.Merge(NewCriteria(conf.LBMetadata{key: `"` + value + `"`}))
			}
			model[key] = `"` + value + `"`
		}
		want := NewCriteria(model)
		if want == nil {
			want = new(Criteria)
		}
		if c.String() != want.String() || c.hash != want.hash {
			rt.Fatalf("%s, want %s", &c, want)
		}
		if !slices.IsSortedFunc(c.pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) }) {
			rt.Fatalf("not sorted: %s", &c)
		}
		keys := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "c", "e", "z"}), func(k string) string { return k }).Draw(rt, "kept")
		for key := range model {
			if !slices.Contains(keys, key) {
				delete(model, key)
			}
		}
		c.keep(&c, keys)
		if want = NewCriteria(model); want == nil {
			want = new(Criteria)
		}
		if c.String() != want.String() || c.hash != want.hash {
			rt.Fatalf("kept %s, want %s", &c, want)
		}
	})
}
