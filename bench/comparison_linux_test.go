package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// figures are what is known of a workload at a server, by column.
type figures [columns]float64

// The columns.
const (
	rate      = iota // requests answered in a second
	p50              // ms until the answer
	p99              // ms
	serverCPU        // us of processor time a request, of all members together
	clientCPU        // us, of the load generator
	resident         // MB of memory, of all members together, when the load is over
	columns
)

// columnNames are for people, columnKeys for scripts.
var (
	columnNames = [columns]string{"ops/s", "p50 ms", "p99 ms", "server us/op", "client us/op", "RSS MB"}
	columnKeys  = [columns]string{"ops_per_s", "p50_ms", "p99_ms", "server_us_per_op", "client_us_per_op", "rss_mb"}
)

// comparison is what was measured.
type comparison struct {
	t      *testing.T
	series map[subject][]figures // one for each round
	others []float64             // for each load, the share of the processors that somebody else used
}

// subject is a workload at a server. The server "okapi" is met once for each workload: no workload is for both doors.
type subject struct{ workload, server string }

// add notes the outcome of a round.
func (c *comparison) add(workload, server string, o outcome, members []*member) {
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(o.requests) }
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	f := figures{rate: o.rate(), p50: ms(o.p50), p99: ms(o.p99), serverCPU: each(o.servers), clientCPU: each(o.clients)}
	for _, m := range members {
		_, bytes := m.memory()
		f[resident] += float64(bytes) / 1e6
	}
	s := subject{workload, server}
	c.series[s] = append(c.series[s], f)
	c.others = append(c.others, o.others)
	c.t.Logf("compare: round %d: %s at %s: %v, others use %.0f %%", len(c.series[s]), workload, server, o, 100*o.others)
}

// medians returns the median of each column over the rounds.
func medians(rounds []figures) (out figures) {
	for column := range out {
		var all []float64
		for _, f := range rounds {
			all = append(all, f[column])
		}
		slices.Sort(all)
		out[column] = (all[(len(all)-1)/2] + all[len(all)/2]) / 2
	}
	return out
}

// ratios returns okapi's figures by those of the peer, round by round: both had the machine in the same mood.
func (c *comparison) ratios(workload, peer string) (out []figures) {
	of := c.series[subject{workload, peer}]
	for round, f := range c.series[subject{workload, "okapi"}] {
		for column := range f {
			f[column] /= of[round][column]
		}
		out = append(out, f)
	}
	return out
}

// show prints the table, and writes the file for scripts if one is wanted.
func (c *comparison) show(contests []contest) {
	c.t.Helper()
	var table, lines bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\tworkload\tserver\t%s\t\n", strings.Join(columnNames[:], "\t"))
	for _, contest := range contests {
		for _, load := range contest.workloads {
			for _, server := range []string{contest.okapi.name, contest.peer.name} {
				rounds := c.series[subject{load.name, server}]
				writeRow(w, load.name, server, "%.0f %.2f %.2f %.1f %.1f %.0f", medians(rounds))
				c.writeLines(&lines, load.name, server, rounds)
			}
			server, rounds := contest.okapi.name+"/"+contest.peer.name, c.ratios(load.name, contest.peer.name)
			writeRow(w, load.name, server, "%.2fx %.2fx %.2fx %.2fx %.2fx %.2fx", medians(rounds))
			c.writeLines(&lines, load.name, server, rounds)
		}
	}
	if err := w.Flush(); err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(c.others)
	c.t.Logf("compare: medians of %d rounds, %d members each; what is neither server nor load used %.0f %% of %d processors, at most %.0f %%\n%s",
		*compareRounds, compareMembers, 100*c.others[len(c.others)/2], runtime.NumCPU(), 100*c.others[len(c.others)-1], &table)
	if *compareJSON != "" {
		if err := os.WriteFile(*compareJSON, lines.Bytes(), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
}

// writeRow writes a line of the table; format has a verb for each column.
func writeRow(w *tabwriter.Writer, workload, server, format string, f figures) {
	fmt.Fprintf(w, "\t%s\t%s\t", workload, server)
	for column, verb := range strings.Fields(format) {
		fmt.Fprintf(w, verb+"\t", f[column])
	}
	fmt.Fprintln(w)
}

// writeLines writes a JSON object for each round, and one without a round for the medians.
func (c *comparison) writeLines(b *bytes.Buffer, workload, server string, rounds []figures) {
	for i, f := range append(slices.Clone(rounds), medians(rounds)) {
		object := map[string]any{"workload": workload, "server": server}
		if i < len(rounds) {
			object["round"] = i + 1
		}
		for column, key := range columnKeys {
			object[key] = f[column]
		}
		line, err := json.Marshal(object)
		if err != nil {
			c.t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
}

// limit is a promise about one column of okapi's figures by those of its peer: the processor time of servers is at most bound,
// a rate at least.
type limit struct {
	workload string
	column   int
	bound    float64
}

// side says on which side of the bound a ratio has to be.
func (l limit) side() string {
	if l.column == serverCPU {
		return "at most"
	}
	return "at least"
}

// kept reports whether a ratio is within the limit.
func (l limit) kept(ratio float64) bool {
	if l.column == serverCPU {
		return ratio <= l.bound
	}
	return ratio >= l.bound
}

// hold prints the ratio beside its limit and fails the test if it falls short.
func (l limit) hold(c *comparison, peer string) {
	c.t.Helper()
	ratio := medians(c.ratios(l.workload, peer))[l.column]
	line := fmt.Sprintf("cluster-5: %s, %s: %.2f times %s's (limit: %s %.2f)",
		l.workload, columnNames[l.column], ratio, peer, l.side(), l.bound)
	if !l.kept(ratio) {
		c.t.Errorf("%s: falls short", line)
		return
	}
	c.t.Log(line)
}

// TestLimits sees to it that a comparison that falls short is called so.
func TestLimits(t *testing.T) {
	c := &comparison{t: t, series: map[subject][]figures{
		{"put", "okapi"}: {{rate: 300, serverCPU: 10}, {rate: 200, serverCPU: 10}, {rate: 900, serverCPU: 90}},
		{"put", "etcd"}:  {{rate: 100, serverCPU: 40}, {rate: 200, serverCPU: 20}, {rate: 450, serverCPU: 100}},
	}}
	for _, test := range []struct {
		limit limit
		want  float64
		kept  bool
	}{
		{limit{"put", rate, 2}, 2, true}, // 3, 1 and 2
		{limit{"put", rate, 2.01}, 2, false},
		{limit{"put", serverCPU, 0.5}, 0.5, true}, // 0.25, 0.5 and 0.9
		{limit{"put", serverCPU, 0.49}, 0.5, false},
	} {
		ratio := medians(c.ratios("put", "etcd"))[test.limit.column]
		if ratio != test.want || test.limit.kept(ratio) != test.kept {
			t.Errorf("%+v: ratio %v, kept %v; want %v, %v", test.limit, ratio, test.limit.kept(ratio), test.want, test.kept)
		}
	}
	if even := medians([]figures{{rate: 1}, {rate: 4}, {rate: 2}, {rate: 9}}); even[rate] != 3 {
		t.Errorf("the median of 1, 4, 2 and 9 is %v, want 3", even[rate])
	}
}
