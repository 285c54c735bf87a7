package format

import (
	"math"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluiceproxy/sluice/proxy/streaminfo"
)

func TestOP20TimeFormats(t *testing.T) {
	i := &streaminfo.Info{StartUnixNs: time.Date(2024, 2, 9, 3, 4, 5, 60_700_000, time.UTC).UnixNano()}
	for _, row := range []struct{ layout, want string }{
		{"%Y/%m/%dT%H:%M:%S%z %s", "2024/02/09T03:04:05+0000 1707447845"},
		{"%s.%3f", "1707447845.060"},
		{"%s.%f", "1707447845.060700000"},
		{"%1f %2f %6f %9f", "0 06 060700 060700000"},
		{"%E3S %E*S %E6f %E*f", "05.060 05.0607 060700 0607"},
		{"%F %T", "2024-02-09 03:04:05"},
		{"%D %R %r", "02/09/24 03:04 03:04:05 AM"},
		{"%a %A %b %B %h", "Fri Friday Feb February Feb"},
		{"%C %y %e %I %p %j", "20 24  9 03 AM 040"},
		{"%u %w %U %W %V %G %g", "5 5 05 06 06 2024 24"},
		{"%Z %Ez %E4Y%ET", "UTC +00:00 2024T"},
		{"%c|%x|%X", "Fri Feb  9 03:04:05 2024|02/09/24|03:04:05"},
		{"100%%", "100%"},
	} {
		f, err := Compile("%START_TIME(" + row.layout + ")%")
		if err != nil {
			t.Errorf("%s: %v", row.layout, err)
			continue
		}
		if got := string(f.Append(nil, i)); got != row.want {
			t.Errorf("%s reads %q, want %q", row.layout, got, row.want)
		}
	}
}

func TestWholeSecondsHaveNoPointWithStar(t *testing.T) {
	f, err := Compile("%START_TIME(%E*S %E*f)%")
	if err != nil {
		t.Fatal(err)
	}
	i := &streaminfo.Info{StartUnixNs: time.Date(2024, 2, 9, 3, 4, 5, 0, time.UTC).UnixNano()}
	if got := string(f.Append(nil, i)); got != "05 0" {
		t.Fatalf("got %q, want %q", got, "05 0")
	}
}

func TestLocalTimesUseTheLocalZone(t *testing.T) {
	old := time.Local
	defer func() { time.Local = old }()
	time.Local = time.FixedZone("XYZ", -(3*3600 + 30*60))
	i := &streaminfo.Info{StartUnixNs: time.Date(2024, 2, 9, 3, 4, 5, 6_000_000, time.UTC).UnixNano(), Start: 1, End: 1 + int64(time.Hour)}
	f, err := Compile("%START_TIME_LOCAL% %EMIT_TIME_LOCAL(%H:%M %z %Ez %Z)% %START_TIME(%H)% %EMIT_TIME(%H)%")
	if err != nil {
		t.Fatal(err)
	}
	want := "2024-02-08T23:34:05.006-03:30 00:34 -0330 -03:30 XYZ 03 04"
	if got := string(f.Append(nil, i)); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

// date(1) is an independent strftime: every conversion on days around year ends and leap days.
func TestConversionsAgreeWithDate(t *testing.T) {
	const layout = "%a %A %b %B %C %d %D %e %F %g %G %H %I %j %m %M %p %R %S %s %T %u %U %V %w %W %y %Y %z"
	path, err := exec.LookPath("date")
	if err != nil {
		t.Skip("no date command")
	}
	f, err := Compile("%START_TIME(" + layout + ")%")
	if err != nil {
		t.Fatal(err)
	}
	for year := 2019; year <= 2029; year++ {
		for _, day := range []time.Time{
			time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(year, 1, 5, 12, 0, 0, 0, time.UTC),
			time.Date(year, 3, 1, 13, 1, 2, 0, time.UTC).AddDate(0, 0, -1), time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC),
		} {
			cmd := exec.Command(path, "-u", "-d", day.Format("2006-01-02 15:04:05"), "+"+layout)
			cmd.Env = []string{"LC_ALL=C"}
			out, err := cmd.Output()
			if err != nil {
				t.Skipf("date cannot do this: %v", err)
			}
			want := strings.TrimSuffix(string(out), "\n")
			if got := string(f.Append(nil, &streaminfo.Info{StartUnixNs: day.UnixNano()})); got != want {
				t.Fatalf("%s reads\n%s, want\n%s", day, got, want)
			}
		}
	}
}

// The default layout is written in one go: it must read as time.Format does, over all of what an int64 holds.
func TestOP20DefaultTimeIsTimeFormats(t *testing.T) {
	f, err := Compile("%START_TIME%|%EMIT_TIME%")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	moments := []int64{1, 999_999, 86_399_999_999_999, 86_400_000_000_000, -1, math.MaxInt64, math.MinInt64 + 1}
	for range 10_000 {
		moments = append(moments, random.Int64()-random.Int64N(math.MaxInt64))
	}
	for _, ns := range moments {
		const later = int64(90 * time.Minute)
		i := &streaminfo.Info{StartUnixNs: ns, Start: 5, End: 5 + later}
		if ns > math.MaxInt64-later {
			i.End = 5
		}
		const layout = "2006-01-02T15:04:05.000Z"
		want := time.Unix(0, ns).UTC().Format(layout) + "|" + time.Unix(0, ns+i.End-i.Start).UTC().Format(layout)
		if got := string(f.Append([]byte("x"), i)); got != "x"+want {
			t.Fatalf("%d reads %s, want x%s", ns, got, want)
		}
	}
}
