//go:build !sluicedebug

package http2

const debugging = false
