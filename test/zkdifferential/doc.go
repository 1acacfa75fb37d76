// Package zkdifferential does the same with okapi and with a real ZooKeeper 3.9 and compares every byte that comes back.
//
// A script is drawn from a seed: several sessions that send requests of every kind, sense and nonsense, many at
// once, and lose and find their connections. It is carried out step by step; between two steps every connection is asked with a
// ping for what was still on its way, so that both servers see the same order of everything, and so the order of
// replies and events on each connection can be compared too. Where sessions work at the same time each has a folder of its
// own, and only what ZooKeeper promises is compared.
//
// Numbers that the servers draw themselves are compared by what they stand for: a zxid by how many came between it and the
// script's beginning, a session by which it is, a time by whether the same zxid always has the same. What ZooKeeper leaves
// open is the order of children, of a session's ephemeral nodes, and of the events when they go; these are compared as sets.
// ZooKeeper against ZooKeeper passes, which proves that nothing else is open.
package zkdifferential
