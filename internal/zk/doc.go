// Package zk is the ZooKeeper door: it serves the client protocol of ZooKeeper 3.9 over TCP, so
// that unchanged ZooKeeper clients take okapi for a ZooKeeper.
//
// A request goes through one file per stage: listener.go accepts, handshake.go opens or attaches
// the session, authenticate.go says who is calling, decode.go and validate.go turn bytes into
// records, translate.go turns records into commands, conn.go keeps the order, read.go answers
// reads from a view, reply.go turns results into bytes, errors.go has the numbers of refusals.
// What lies behind, consensus included, is reached through the interface Replica alone.
//
// The state of one client's protocol is a plain object (conn) that does no input or output and
// starts nothing; link gives it a socket and two goroutines. All limits are bounds on memory:
// when one is reached the server stops reading the socket, it never drops a request that it has
// read.
package zk
