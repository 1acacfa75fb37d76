// Package etcd is okapi's etcd v3 door: it serves the gRPC API of etcd 3.7, and the HTTP
// paths that etcd answers on the same port, in front of a replica.
//
// A request goes one straight line and each step has its file: listener.go accepts the
// connection and finds out which protocol it speaks, authenticate.go says who is calling,
// validate.go refuses what etcd would refuse before consensus, translate.go turns the request
// into a command, kv.go or lease.go proposes it, reply.go turns the result into the response, errors.go
// turns a refusal into the status that etcd sends. Reads leave the line after the translation
// and take read.go, keep-alives take keepalive.go. translate.go and reply.go are pure functions. The calls
// of the other services stand in the file of their service, and HTTP in http.go and health.go.
//
// Watches are the other half. watch.go takes the requests of a stream, hub.go finds out which
// watches a change concerns, notify.go reads the changes and sends them, event.go and codec.go
// encode an event once for all who are told. leader.go ends streams on a member without leader.
//
// The package reaches the replica only through the interfaces Replica, Leases and Upkeep and decides nothing that
// depends on the state: whether a lease exists or a revision is compacted is for apply to say.
// Where a behaviour looks odd it is etcd's, and the comment names the file of etcd's source
// that shows it.
package etcd
