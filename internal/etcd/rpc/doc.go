// Package rpc is the gRPC server of the etcd door: HTTP/2 and gRPC's protocol over it, made for many small calls.
//
// # Idea
//
// gRPC's own server moves each call through five goroutines' hands and writes its answer alone: that is two thirds of what a
// put costs a cluster, and nine tenths of a get. Here a connection has two goroutines. The reader takes frames off the
// socket, and a call that is complete goes to a worker, which runs the handler and appends the answer to what
// the connection has to send. The writer sends all that has gathered in one write, then looks again: answers that are
// ready while it writes, or before it gets its turn, leave together.
//
// Services are registered as with gRPC's server (Server is a grpc.ServiceRegistrar), and handlers find in their context what
// they would find there: metadata, peer, deadline.
//
// # Invariants
//
//   - One mutex a connection guards its streams, its windows and what is to be sent. Nothing blocks under it, and no
//     code of a handler, a codec or a socket runs under it.
//   - Header blocks are encoded in the order in which they are sent, and decoded in the order in which they came,
//     those of refused calls too: both sides' tables depend on it.
//   - The reader never writes, so two sides that both wait for the other to read cannot stop each other. It stops reading
//     while too much waits for the socket. What waits for a window does not count there: to open one takes reading.
//   - A client pays for what it does. Header blocks, messages, streams and calls under way are bounded, answers leave
//     as the client's windows and its socket let them, and what is announced takes no memory before it comes.
//   - A handler's context ends when its call has ended, for whatever reason.
//
// # Why not simpler
//
// Handlers could run on the reader, without any worker: but they wait for consensus, and the next call of
// the connection would wait with them. Whoever has an answer could write it at once, without a writer: then
// each answer would be a system call of its own, and those are what the time goes into.
//
// Protocol rules are those of RFC 9113 (HTTP/2), RFC 7541 (HPACK) and gRPC's PROTOCOL-HTTP2.md; where these leave a choice, it
// is as gRPC's server in Go has it, because that is what etcd's clients know.
package rpc
