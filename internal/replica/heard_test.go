package replica

import "testing"

// TestHeard: what counts is when the leader was told of this very client.
func TestHeard(t *testing.T) {
	const timeout = 1200
	type at struct{ now, confirmed int64 }
	for name, c := range map[string]struct {
		heard []at
		want  bool // of the last
	}{
		"just attached":                   {[]at{{5000, 4900}}, true},
		"pings at each third":             {[]at{{5000, 4900}, {5400, 5300}, {5800, 5700}, {6200, 6100}, {6600, 6500}}, true},
		"heard of all the time":           {[]at{{5000, 4900}, {5010, 4900}, {5300, 5000}, {5310, 5200}, {5700, 5600}, {5990, 5900}}, true},
		"silent for long":                 {[]at{{5000, 4900}, {5400, 5300}, {5800, 5700}, {6600, 6590}}, false},
		"silent since it was attached":    {[]at{{5000, 4900}, {5800, 5790}}, false},
		"told before it was attached":     {[]at{{5000, 4900}, {5350, 4990}}, false},
		"reports since the last one lost": {[]at{{5000, 4900}, {5300, 5200}, {5600, 5200}, {5710, 5200}}, false},
	} {
		var h Heard
		got := false
		for _, a := range c.heard {
			got = h.Again(a.now, a.confirmed, timeout)
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
