package sock

import "golang.org/x/sys/unix"

// FreeBSD's SO_REUSEPORT does not spread connections over the sockets; this does.
const reusePort = unix.SO_REUSEPORT_LB
