// Package retry decides about tries of a request: whether an outcome is worth another one, whether there
// may be another one, after how long, and how many there may be at a time. Everything is a function of
// what it is given: no clock, no I/O, no goroutine. Package hcm acts on the decisions.
//
//	outcome of a try --> State.Response, State.Reset    is it worth another try? (conditions, ROUTER-27)
//	                 --> State.Decide                   may there be one? (count, breaker, ROUTER-23)
//	                 --> State.Delay                    after how long? (back-off, ROUTER-30, ROUTER-34)
//
// Start reading at state.go.
package retry
