//go:build sluicedebug

package hcm

import (
	"fmt"
	"slices"
)

// change is one transition of one of a stream's three machines.
type change struct {
	machine  string
	from, to fmt.Stringer
}

func (c change) String() string {
	if c.machine == "" {
		return "-"
	}
	return fmt.Sprintf("%s %v -> %v", c.machine, c.from, c.to)
}

// history holds a stream's last four transitions, newest first.
type history [4]change

// allowedHalf and allowedAttempt are the tables of stream and attempt.
var (
	allowedHalf = [...][]half{
		halfHead: {halfBody, halfDone},
		halfBody: {halfDone},
		halfDone: nil,
	}
	allowedAttempt = [...][]attemptState{
		attemptIdle:    {attemptPending},
		attemptPending: {attemptHead, attemptIdle},
		attemptHead:    {attemptBody, attemptIdle},
		attemptBody:    {attemptIdle},
	}
)

func (st *stream) setRequest(h half) {
	st.note("request", slices.Contains(allowedHalf[st.request], h), st.request, h)
	st.request = h
}

func (st *stream) setResponse(h half) {
	st.note("response", slices.Contains(allowedHalf[st.response], h), st.response, h)
	st.response = h
}

func (a *attempt) setState(s attemptState) {
	a.st.note("attempt", slices.Contains(allowedAttempt[a.state], s), a.state, s)
	a.state = s
}

// note keeps a transition and panics when its machine has no such.
func (st *stream) note(machine string, ok bool, from, to fmt.Stringer) {
	c := change{machine, from, to}
	if !ok {
		panic(fmt.Sprintf("hcm: %v; before that %v", c, st.history))
	}
	copy(st.history[1:], st.history[:3])
	st.history[0] = c
}
