package harness

import "testing"

func TestAfterEvents(t *testing.T) {
	for _, c := range []struct{ out, want string }{
		{"Connecting to h:1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\nhello\n", "hello"},
		{"Connecting to h:1\n\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null\n[a, b]\n\nWATCHER::\n\nWatchedEvent state:Closed type:None path:null\n", "[a, b]"},
		{"Connecting to h:1\n", ""},
	} {
		if got := afterEvents(c.out); got != c.want {
			t.Errorf("afterEvents(%q) = %q, want %q", c.out, got, c.want)
		}
	}
}
