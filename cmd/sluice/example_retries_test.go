package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestExampleRetries: of two hosts one refuses connections; no request fails.
func TestExampleRetries(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().(*net.TCPAddr)
	ln.Close()
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer origin.Close()
	port := func(addr string) string { return "port_value: " + addr[strings.LastIndexByte(addr, ':')+1:] }
	e := runExample(t, "retries.yaml", "port_value: 9001", port(nobody.String()), "port_value: 9002", port(origin.Listener.Addr().String()))
	for range 20 {
		status, header, body := e.get("any", "/")
		if status != 200 || header.Get("x-envoy-attempt-count") == "" {
			t.Fatalf("%d %v %s", status, header, body)
		}
	}
}
