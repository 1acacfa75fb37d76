// Package clock is the seam between okapi and time.
//
// Parts that wait or measure take a Clock, so that tests and the simulator decide when time
// passes and nothing has to sleep. The pure core has no clock at all: its time comes in with
// the entries.
package clock

import "time"

// Clock tells the time and wakes its callers. Implementations are safe for concurrent use.
type Clock interface {
	// Now returns the present time. Differences between two results are as exact as the
	// source: with Real they are monotonic and survive a step of the wall clock.
	Now() time.Time
	// NewTimer makes a timer that fires once, after d. With d <= 0 it fires at once. The
	// caller stops it when it is no longer wanted.
	NewTimer(d time.Duration) Timer
}

// Timer fires once on its channel, and again after each Reset. A Timer belongs to one
// goroutine.
type Timer interface {
	// C returns the channel that receives the time of firing. It has room for one value, and
	// after Stop or Reset it holds nothing from before.
	C() <-chan time.Time
	// Stop keeps the timer from firing; it reports whether the timer was still waiting.
	Stop() bool
	// Reset starts the timer anew with d, whether it was waiting, stopped or has fired; it
	// reports whether it was still waiting.
	Reset(d time.Duration) bool
}

// Real is the clock of the operating system. The zero value is ready.
type Real struct{}

// Now implements Clock.
func (Real) Now() time.Time { return time.Now() }

// NewTimer implements Clock.
func (Real) NewTimer(d time.Duration) Timer { return realTimer{time.NewTimer(d)} }

// realTimer adapts time.Timer, whose channel has, since Go 1.23, the promise that Timer.C
// makes about stale values.
type realTimer struct{ timer *time.Timer }

// C implements Timer.
func (t realTimer) C() <-chan time.Time { return t.timer.C }

// Stop implements Timer.
func (t realTimer) Stop() bool { return t.timer.Stop() }

// Reset implements Timer.
func (t realTimer) Reset(d time.Duration) bool { return t.timer.Reset(d) }
