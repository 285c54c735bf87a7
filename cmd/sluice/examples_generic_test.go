package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// The Redis example serves commands, one connection of the server for each client.
func TestExampleGenericRedis(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					_, _ = fmt.Fprintf(c, "+%s\r\n", strings.TrimSpace(in.Text()))
				}
			}()
		}
	}()
	port := ln.Addr().(*net.TCPAddr).Port
	e := runExample(t, "generic-redis.yaml", "port_value: 6379", fmt.Sprintf("port_value: %d", port), "port_value: 9901", "port_value: 0")
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const script = "MULTI\r\nSET a 1\r\nEXEC\r\n"
	if _, err := io.WriteString(c, script); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(script)+3)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "+MULTI\r\n+SET a 1\r\n+EXEC\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}
