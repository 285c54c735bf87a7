package main

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/sluiceproxy/sluice/bench/origin"
)

// originCommand runs the scripted origin.
type originCommand struct {
	Listen string `default:"127.0.0.1:9000" placeholder:"ADDR" help:"Serve HTTP here."`
	Echo   string `placeholder:"ADDR" help:"Also send every byte back on this TCP address."`
	Name   string `default:"origin" help:"Named in the answer to '/'."`
	Loops  int    `default:"1" help:"Event loops."`
}

// Help is kong's long help.
func (originCommand) Help() string {
	return `Paths, for any method:

  /                      hello from NAME
  /bytes/N  /chunked/N   N bytes, with Content-Length or in chunks
  /checksum/N            N bytes and their CRC-32 in X-Checksum
  /status/N              that status
  /delay/MS              answers after that many milliseconds
  /slow?bytes=N&every=MS one byte every MS milliseconds
  /echo  /drain          the request's body back, or its size and CRC-32
  /headers               the request's head as received
  /close  /reset         ends the connection in order, or not`
}

// Run implements the subcommand.
func (c *originCommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := origin.New(origin.Options{Addr: c.Listen, EchoAddr: c.Echo, Name: c.Name, Loops: c.Loops})
	if err != nil {
		return err
	}
	defer s.Stop()
	fmt.Printf("origin on http://%s/\n", tryAddress(s.Addr()))
	if e := s.EchoAddr(); e != nil {
		fmt.Printf("echo on %s\n", e)
	}
	<-ctx.Done()
	return nil
}
