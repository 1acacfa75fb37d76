// Package upgrade replaces the program of a cluster under load, member by member, as operators do: by that of the next release, on the
// same data directories. What the members of two releases say to each other, and what one reads that another wrote, must fit.
package upgrade
