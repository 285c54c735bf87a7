// Package admin serves Envoy's admin interface over net/http, away from the loops: statistics,
// configuration, clusters, listeners, log level, drain and exit. Reading never changes anything;
// what changes something needs POST (AMB-21). It knows the server only through package proxy.
//
// admin.go has the table of paths; each group of pages has a file.
package admin
