// Package buf owns the bytes that must wait: slabs in power-of-two sizes from
// a bounded per-loop pool, and chains (queues) of slabs.
//
//	Pool:  512 | 1 Ki | 2 Ki | ... | 4 Mi | 8 Mi     one free stack per size
//	Chain: head -> [....rrrrwwww] -> [wwwwwwww] -> [www.....] <- tail
//	                    ^r      ^w
//
// Everything here is loop-owned: no lock and no atomic. In steady state nothing
// allocates. Bytes that need not wait never come here: they are handled in the
// loop's read buffer (see package engine).
//
// With the build tag sluicedebug a slab is overwritten when it is put back and a
// second Put of the same slab panics, so a view kept too long fails loudly.
package buf
