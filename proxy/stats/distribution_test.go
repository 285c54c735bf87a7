package stats

import (
	"math"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

func TestEveryValueLiesInItsBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64Range(0, maxValue).Draw(t, "v") >> rapid.UintRange(0, 40).Draw(t, "shift")
		group, slot := place(v)
		low, high := bounds(group, slot)
		if v < low || v > high {
			t.Fatalf("%d is in bucket %d..%d", v, low, high)
		}
		if float64(high-low) > float64(low)/perGroup {
			t.Fatalf("bucket %d..%d is wider than 1/64", low, high)
		}
	})
}

func TestBucketsFollowEachOtherWithoutAGap(t *testing.T) {
	next := uint64(0)
	for group := range groups {
		for slot := range perGroup {
			low, high := bounds(group, slot)
			if low != next {
				t.Fatalf("group %d slot %d begins at %d, want %d", group, slot, low, next)
			}
			next = high + 1
		}
	}
	if next != maxValue+1 {
		t.Fatalf("the last bucket ends at %d", next-1)
	}
}

func TestHugeValuesCountAsTheLargest(t *testing.T) {
	var d Distribution
	d.add(math.MaxUint64)
	if d.Count != 1 || d.Quantile(1) != maxValue {
		t.Fatalf("count %d, P100 %v", d.Count, d.Quantile(1))
	}
}

func TestQuantilesAreCloseToTheSortedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint64Range(0, 10_000_000), 1, 200).Draw(t, "values")
		var d Distribution
		for _, v := range values {
			d.add(v)
		}
		sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
		for _, q := range supportedQuantiles {
			rank := max(int(math.Ceil(q*float64(len(values))))-1, 0)
			want := float64(values[rank])
			if got := d.Quantile(q); math.Abs(got-want) > want/perGroup {
				t.Fatalf("P%v = %v, want about %v", 100*q, got, want)
			}
		}
	})
}

func TestSmallValuesAreExact(t *testing.T) {
	var d Distribution
	for v := range uint64(100) {
		d.add(v + 1)
	}
	for _, row := range []struct{ q, want float64 }{{0, 1}, {0.25, 25}, {0.5, 50}, {0.99, 99}, {1, 100}} {
		if got := d.Quantile(row.q); got != row.want {
			t.Errorf("P%v = %v, want %v", 100*row.q, got, row.want)
		}
	}
	if !math.IsNaN(new(Distribution).Quantile(0.5)) || !math.IsNaN((*Distribution)(nil).Quantile(0.5)) {
		t.Error("an empty histogram has a quantile")
	}
}

func TestOP11BucketBoundsIncludeEqualValues(t *testing.T) {
	for _, bound := range supportedBuckets[1:] {
		var d Distribution
		d.add(uint64(bound))
		d.add(uint64(bound) * 2)
		if got := d.AtMost(bound); got != 1 {
			t.Errorf("%v values at most %v, want 1", got, bound)
		}
		if got := d.AtMost(bound - 1); got != 0 && bound <= 128 {
			t.Errorf("%v values at most %v, want 0", got, bound-1)
		}
	}
}

func TestMergeAndSubtractAreInverse(t *testing.T) {
	values := rapid.SliceOfN(rapid.Uint64Range(0, 1<<30), 0, 50)
	rapid.Check(t, func(t *rapid.T) {
		var a, b Distribution
		for _, v := range values.Draw(t, "a") {
			a.add(v)
		}
		for _, v := range values.Draw(t, "b") {
			b.add(v)
		}
		sum := a.clone()
		sum.merge(&b)
		sum.subtract(&b)
		if sum.Count != a.Count || sum.Sum != a.Sum {
			t.Fatalf("count %d sum %d, want %d %d", sum.Count, sum.Sum, a.Count, a.Sum)
		}
		for _, q := range supportedQuantiles {
			x, y := sum.Quantile(q), a.Quantile(q)
			if x != y && !(math.IsNaN(x) && math.IsNaN(y)) {
				t.Fatalf("P%v = %v, want %v", 100*q, x, y)
			}
		}
	})
}
