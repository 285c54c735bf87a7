package suite

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/sluiceproxy/sluice/bench"
)

// progressLine is one line on a terminal that says what is being measured, written over itself.
type progressLine struct {
	w              io.Writer // nil: quiet
	scenario, peer string
}

// Terminal returns f when it is a terminal, for Options.Progress, else nil.
func Terminal(f *os.File) io.Writer {
	if f == nil || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// eraseLine returns to the first column and clears to the right (ECMA-48 EL).
const eraseLine = "\r\x1b[K"

func (l *progressLine) show(what string) {
	if l.w != nil {
		_, _ = fmt.Fprintf(l.w, "%s%s %s %s", eraseLine, l.scenario, l.peer, what)
	}
}

func (l *progressLine) onProgress(p bench.Progress) {
	if l.w == nil {
		return
	}
	what := fmt.Sprintf("%.1fs of %.1fs, %.0f requests/s",
		p.Elapsed.Round(100*time.Millisecond).Seconds(), p.Total.Seconds(), p.PerSecond)
	if p.Errors > 0 {
		what += fmt.Sprintf(", %d failed", p.Errors)
	}
	l.show(what)
}

func (l *progressLine) clear() {
	if l.w != nil {
		_, _ = io.WriteString(l.w, eraseLine)
	}
}
