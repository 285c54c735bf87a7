//go:build darwin || freebsd

package sock

// HoldOff does nothing here: there is no socket filter for it.
func HoldOff(int) {}
