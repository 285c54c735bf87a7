// Package relay moves bytes between two connections of one loop without their
// handlers seeing them.
//
//	Pump:    src --read--> loop's buffer --write--> dst        small pieces, most of
//	                                                           them by the engine alone
//	         src --splice--> kernel pipe --splice--> dst       bulk
//	Tunnel:  two pumps, half-close carried over, one idle timer
//
// A direction starts by copying pieces of up to 16 KiB. A read that fills its
// piece makes it splice, through a 1 MiB pipe of the loop's pool, until two pieces
// in a row are under 4 KiB: a splice saves the copy and costs a second call, which pays
// for large pieces only (bench row l4-bulk against l4-pingpong). A pipe is held only
// while bytes are in it. Where the kernel refuses to splice, or does not have it,
// copying goes on.
//
// Backpressure: a source is not read while its destination has no room. So what
// waits in user space is one piece of 16 KiB at most, and in the kernel one pipe; a
// tunnel's limits make both smaller. What an end that is gone had sent is kept
// moving until the other has it.
//
// Start reading at pump.go; tunnel.go says what each event of a pair leads to, and
// ends.go does it. No allocation beyond the Pump or Tunnel, which can be
// embedded in the caller's object.
package relay
