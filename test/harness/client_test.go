package harness

import "testing"

func TestWithoutEvents(t *testing.T) {
	for _, c := range []struct{ out, want string }{
		{"Connecting to h:1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\nhello\n", "hello"},
		{"Connecting to h:1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\n[a, b]\n\nWATCHER::\n\nWatchedEvent state:Closed type:None path:null\n", "[a, b]"},
		{"Connecting to h:1\n", ""},
		{"Connecting to h:1\n[a, \nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\nb]\n", "[a, b]"},
		{"Connecting to h:1\n[a\nWATCHER::\n, b\nWatchedEvent state:SyncConnected type:None path:null zxid: -1\n]\n", "[a, b]"},
		{"Connecting to h:1\ncZxid = 0x1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\nctime = x\n", "cZxid = 0x1\nctime = x"},
		{"Connecting to h:1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:nullhello\n", "hello"},
	} {
		if got := withoutEvents(c.out); got != c.want {
			t.Errorf("withoutEvents(%q) = %q, want %q", c.out, got, c.want)
		}
	}
}
