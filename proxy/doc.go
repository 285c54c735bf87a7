// Package proxy is sluice as a library: a Server takes a configuration snapshot (package conf) and
// runs listeners, clusters and routes on one event loop per core. It links neither protobuf nor
// grpc; package proxy/envoy reads Envoy files into the same snapshot.
//
//	New(options)      compile, open sockets
//	(*Server).Start   resolve clusters, then accept
//	(*Server).Apply   a new snapshot, all or nothing; what did not change is not touched
//	(*Server).Drain   stop accepting, let requests finish
//	(*Server).Close   end now
//
// Open server.go first, then apply.go; the life of a request continues in package hcm.
package proxy
