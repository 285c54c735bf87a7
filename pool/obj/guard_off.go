//go:build !sluicedebug

package obj

// guard costs nothing in release builds.
type guard[T any] struct{}

func (guard[T]) taken(*T)   {}
func (guard[T]) given(*T)   {}
func (guard[T]) dropped(*T) {}
