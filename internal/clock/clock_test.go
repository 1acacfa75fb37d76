package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fired returns the value in the timer's channel, or the zero time if there is none.
func fired(t Timer) time.Time {
	select {
	case at := <-t.C():
		return at
	default:
		return time.Time{}
	}
}

func TestManualFiresInOrderOfDeadlines(t *testing.T) {
	c := NewManual(start)
	late, early := c.NewTimer(3*time.Second), c.NewTimer(time.Second)
	c.Advance(2 * time.Second)
	if got, want := fired(early), start.Add(time.Second); !got.Equal(want) {
		t.Errorf("early timer fired at %v, want %v", got, want)
	}
	if got := fired(late); !got.IsZero() {
		t.Errorf("late timer fired at %v, before its time", got)
	}
	c.Advance(time.Second)
	if got, want := fired(late), start.Add(3*time.Second); !got.Equal(want) {
		t.Errorf("late timer fired at %v, want %v", got, want)
	}
	if got, want := c.Now(), start.Add(3*time.Second); !got.Equal(want) {
		t.Errorf("now is %v, want %v", got, want)
	}
	if c.Waiting() != 0 {
		t.Errorf("%d timers still wait", c.Waiting())
	}
}

// Both clocks must agree on what Stop and Reset leave in the channel; the real one runs in a
// bubble of synctest, where time passes only while everybody waits.
func TestStopAndResetLeaveNothingStale(t *testing.T) {
	check := func(t *testing.T, c Clock, advance func(time.Duration)) {
		timer := c.NewTimer(time.Second)
		if !timer.Stop() {
			t.Error("Stop of a waiting timer reported false")
		}
		if timer.Stop() {
			t.Error("second Stop reported true")
		}
		timer.Reset(time.Second)
		advance(2 * time.Second)
		timer.Reset(time.Second)
		if got := fired(timer); !got.IsZero() {
			t.Errorf("value %v from before the Reset", got)
		}
		advance(time.Second)
		if fired(timer).IsZero() {
			t.Error("timer did not fire after the Reset")
		}
		timer.Reset(0)
		advance(0)
		if fired(timer).IsZero() {
			t.Error("timer with no delay did not fire at once")
		}
	}
	t.Run("manual", func(t *testing.T) {
		c := NewManual(start)
		check(t, c, c.Advance)
	})
	t.Run("real", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			check(t, Real{}, func(d time.Duration) {
				time.Sleep(d)
				synctest.Wait()
			})
		})
	})
}

func TestManualNeverRunsBack(t *testing.T) {
	c := NewManual(start)
	c.Advance(-time.Hour)
	if !c.Now().Equal(start) {
		t.Errorf("now is %v, want %v", c.Now(), start)
	}
}
