// Package watch decides who learns of which change. It holds no connections and sends nothing: its
// types are told of interests and of changes, and answer with names.
//
// The two protocols promise different things, so there are two halves.
//
// ZooKeeper watches are fed from the events of apply, one for each operation. Registry knows the
// watches of the connections of one member; Match finds who gets which notification for an event
// and uses up the one-shot watches among them.
//
// etcd watches are fed from the change log of one key space. A watch is a Cursor, a position in that
// log, and a Reader gets from it the net effect of each revision on the watched keys. Since nothing is
// buffered for a watch, a slow one costs the others nothing. Interest tells which watches a changed key
// concerns, so that the others need not look at the log at all.
//
// Nothing here is safe for use by several goroutines at once; the owner serializes calls.
package watch
