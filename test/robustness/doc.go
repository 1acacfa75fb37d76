// Package robustness breaks real clusters while clients of both protocols use them, records what the clients saw, and checks the
// records against what the protocols promise.
package robustness
