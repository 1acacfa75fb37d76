package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/okapi-kv/okapi/internal/admin"
)

// memberTool is what the commands under "okapi member" share: where the cluster is, and how to print.
type memberTool struct {
	endpoints string
	timeout   time.Duration
	json      bool
	out       io.Writer
	errs      io.Writer
}

// memberCommand is "okapi member".
func memberCommand(errs io.Writer) *cobra.Command {
	tool := &memberTool{errs: errs}
	root := &cobra.Command{
		Use:   "member",
		Short: "Show and change the members of a cluster",
		Long: "member shows who belongs to a cluster that runs, and changes it. A member is named by its id or by its name.\n\n" +
			"To replace a member that is lost: okapi member replace LOST --peer-urls URL NAME, start the new one as it says, and\n" +
			"okapi member promote NAME.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&tool.endpoints, "endpoints", "http://127.0.0.1:2379", "Client URLs of members, separated by commas; they are tried in turn.")
	flags.DurationVar(&tool.timeout, "timeout", time.Minute, "How long the command may take.")
	flags.BoolVar(&tool.json, "json", false, "Print JSON.")
	root.AddCommand(
		tool.list(), tool.add(), tool.promote(), tool.demote(), tool.remove(), tool.replace(), tool.update(), tool.moveLeader(),
	)
	return root
}

// command makes one of the commands.
func (t *memberTool) command(use, short string, args int, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, given []string) error {
		if len(given) != args {
			return fmt.Errorf("%s takes %d arguments, but got %d: see %s --help", cmd.CommandPath(), args, len(given), cmd.CommandPath())
		}
		t.out = cmd.OutOrStdout()
		ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
		defer cancel()
		return run(ctx, given)
	}}
}

func (t *memberTool) list() *cobra.Command {
	return t.command("list", "List the members", 0, func(ctx context.Context, _ []string) error {
		members, err := t.members(ctx)
		if err != nil {
			return err
		}
		return t.print(members)
	})
}

func (t *memberTool) add() *cobra.Command {
	var urls []string
	var observer bool
	cmd := t.command("add NAME", "Add a member as a learner, which is to be promoted, or as an observer", 1, func(ctx context.Context, args []string) error {
		role := "learner"
		if observer {
			role = "observer"
		}
		if err := t.checkName(ctx, args[0], 0); err != nil {
			return err
		}
		members, err := t.change(ctx, admin.MemberChange{Action: "add", Role: role, PeerURLs: urls})
		if err != nil {
			return err
		}
		return t.printAdded(members, args[0], urls)
	})
	cmd.Flags().StringSliceVar(&urls, "peer-urls", nil, "Where the other members will reach it.")
	cmd.Flags().BoolVar(&observer, "observer", false, "Add an observer: it serves clients and never votes.")
	return cmd
}

func (t *memberTool) promote() *cobra.Command {
	return t.command("promote MEMBER", "Give a learner or observer a vote, once it has caught up", 1, func(ctx context.Context, args []string) error {
		for last := ""; ; {
			members, err := t.changeOf(ctx, args[0], admin.MemberChange{Action: "role", Role: "voter"})
			var p problemError
			why := ""
			switch {
			case errors.Is(err, errNobody):
				why = "is not there, or has not started: give its id, or start it"
			case errors.As(err, &p) && p.Code == "not-caught-up":
				why = fmt.Sprintf("lacks %d entries, or has not been heard of for a moment", p.Missing)
			case err != nil:
				return err
			default:
				return t.print(members)
			}
			if why != last {
				fmt.Fprintf(t.errs, "waiting: %s %s\n", args[0], why)
				last = why
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return fmt.Errorf("%s cannot get a vote within %v: %w", args[0], t.timeout, err)
			}
		}
	})
}

func (t *memberTool) demote() *cobra.Command {
	return t.command("demote MEMBER", "Take the vote of a member, which becomes an observer", 1, func(ctx context.Context, args []string) error {
		return t.changeAndPrint(ctx, args[0], admin.MemberChange{Action: "role", Role: "observer"})
	})
}

func (t *memberTool) remove() *cobra.Command {
	return t.command("remove MEMBER", "Remove a member for good", 1, func(ctx context.Context, args []string) error {
		return t.changeAndPrint(ctx, args[0], admin.MemberChange{Action: "remove"})
	})
}

func (t *memberTool) replace() *cobra.Command {
	var urls []string
	cmd := t.command("replace LOST NAME", "Remove a member that is lost and add a learner in its place, in one change", 2, func(ctx context.Context, args []string) error {
		lost, err := t.find(ctx, args[0])
		if err != nil {
			return err
		}
		if err := t.checkName(ctx, args[1], lost.ID); err != nil {
			return err
		}
		members, err := t.change(ctx,
			admin.MemberChange{Action: "remove", ID: lost.ID}, admin.MemberChange{Action: "add", Role: "learner", PeerURLs: urls})
		if err != nil {
			return err
		}
		return t.printAdded(members, args[1], urls)
	})
	cmd.Flags().StringSliceVar(&urls, "peer-urls", nil, "Where the other members will reach the new one.")
	return cmd
}

func (t *memberTool) update() *cobra.Command {
	var urls []string
	cmd := t.command("update MEMBER", "Say where the other members reach a member from now on", 1, func(ctx context.Context, args []string) error {
		return t.changeAndPrint(ctx, args[0], admin.MemberChange{Action: "urls", PeerURLs: urls})
	})
	cmd.Flags().StringSliceVar(&urls, "peer-urls", nil, "Where the other members reach it.")
	return cmd
}

func (t *memberTool) moveLeader() *cobra.Command {
	return t.command("move-leader MEMBER", "Hand the office of leader to a voter", 1, func(ctx context.Context, args []string) error {
		to, err := t.find(ctx, args[0])
		if err != nil {
			return err
		}
		members, err := t.transfer(ctx, admin.Transfer{To: to.ID})
		if err != nil {
			return err
		}
		return t.print(members)
	})
}

func (t *memberTool) changeAndPrint(ctx context.Context, who string, c admin.MemberChange) error {
	members, err := t.changeOf(ctx, who, c)
	if err != nil {
		return err
	}
	return t.print(members)
}

// changeOf makes a change of the member that who names.
func (t *memberTool) changeOf(ctx context.Context, who string, c admin.MemberChange) (admin.Members, error) {
	m, err := t.find(ctx, who)
	if err != nil {
		return admin.Members{}, err
	}
	c.ID = m.ID
	return t.change(ctx, c)
}

func (t *memberTool) change(ctx context.Context, changes ...admin.MemberChange) (admin.Members, error) {
	return t.ask(ctx, http.MethodPost, "members", admin.Change{Changes: changes})
}

var errNobody = errors.New("no member has the id or the name")

// find returns the member of that id or name.
func (t *memberTool) find(ctx context.Context, who string) (admin.Member, error) {
	members, err := t.members(ctx)
	if err != nil {
		return admin.Member{}, err
	}
	var found []admin.Member
	var id admin.ID
	isID := id.UnmarshalText([]byte(who)) == nil
	for _, m := range members.Members {
		if m.Name == who || isID && m.ID == id {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return admin.Member{}, fmt.Errorf("%w %q: see okapi member list", errNobody, who)
	case 1:
		return found[0], nil
	}
	return admin.Member{}, fmt.Errorf("%d members have the name %q: use an id, see okapi member list", len(found), who)
}

// checkName refuses the name of a new member if one other than lost has it: neither could be named then, and the new one could not
// join with the flags that name both.
func (t *memberTool) checkName(ctx context.Context, name string, lost admin.ID) error {
	members, err := t.members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members.Members {
		if m.Name == name && m.ID != lost {
			return fmt.Errorf("member %x has the name %q: choose another name", uint64(m.ID), name)
		}
	}
	return nil
}

// problemError is what a member answered.
type problemError struct{ admin.Problem }

// Error says it in the member's words.
func (p problemError) Error() string { return p.Problem.Error }

// ask sends a request to the first endpoint that answers.
func (t *memberTool) ask(ctx context.Context, method, path string, body any) (admin.Members, error) {
	return askOne(ctx, strings.Split(t.endpoints, ","), method, path, body)
}

// members asks who belongs to the cluster: the leader, if it can be found, which knows most.
func (t *memberTool) members(ctx context.Context) (admin.Members, error) {
	members, err := t.ask(ctx, http.MethodGet, "members", nil)
	if err != nil || members.Leader == members.AnsweredBy {
		return members, err
	}
	if better, err := askOne(ctx, leaderURLs(members), http.MethodGet, "members", nil); err == nil {
		return better, nil
	}
	return members, nil
}

// transfer hands the office of leader on, which only the leader can: it is asked where it says that clients reach it, or at the
// endpoints.
func (t *memberTool) transfer(ctx context.Context, to admin.Transfer) (admin.Members, error) {
	members, err := t.members(ctx)
	if err != nil {
		return admin.Members{}, err
	}
	var refused error
	for _, endpoint := range append(leaderURLs(members), strings.Split(t.endpoints, ",")...) {
		members, err := askOne(ctx, []string{endpoint}, http.MethodPost, "leader", to)
		var p problemError
		switch {
		case err == nil:
			return members, nil
		case !errors.As(err, &p): // it does not answer
		case p.Code != "not-leader":
			return members, err
		default:
			refused = err
		}
	}
	if refused == nil {
		refused = fmt.Errorf("no member answers: is one running at --endpoints %s", t.endpoints)
	}
	return admin.Members{}, refused
}

// leaderURLs are where clients reach the member that is taken for the leader.
func leaderURLs(members admin.Members) []string {
	for _, m := range members.Members {
		if m.ID == members.Leader {
			return slices.Clone(m.ClientURLs)
		}
	}
	return nil
}

// askOne sends a request to the first of the endpoints that answers.
func askOne(ctx context.Context, endpoints []string, method, path string, body any) (admin.Members, error) {
	var unheard error
	for _, endpoint := range endpoints {
		members, err := send(ctx, method, strings.TrimRight(strings.TrimSpace(endpoint), "/")+"/okapi/v1/"+path, body)
		var p problemError
		if err == nil || errors.As(err, &p) {
			return members, err
		}
		unheard = err
	}
	return admin.Members{}, fmt.Errorf("no member answers: is one running at --endpoints %s? %w", strings.Join(endpoints, ","), unheard)
}

// send sends one request to one member.
func send(ctx context.Context, method, url string, body any) (members admin.Members, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return members, fmt.Errorf("encode request: %w", err)
		}
		in = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return members, fmt.Errorf("make request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return members, fmt.Errorf("ask: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return members, fmt.Errorf("read answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		var p admin.Problem
		if json.Unmarshal(text, &p) == nil && p.Error != "" {
			return members, problemError{p}
		}
		return members, fmt.Errorf("%s answers %s: is it an okapi?", url, response.Status)
	}
	if err := json.Unmarshal(text, &members); err != nil {
		return members, fmt.Errorf("read answer of %s: %w", url, err)
	}
	return members, nil
}

// print shows the members.
func (t *memberTool) print(members admin.Members) error {
	if t.json {
		out := json.NewEncoder(t.out)
		out.SetIndent("", "  ")
		return out.Encode(members)
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tROLE\tPEER URLS\tCLIENT URLS\tSTATE")
	for _, m := range members.Members {
		name := m.Name
		if name == "" {
			name = "(not started)"
		}
		fmt.Fprintf(table, "%x\t%s\t%s\t%s\t%s\t%s\n", uint64(m.ID), name, m.Role,
			strings.Join(m.PeerURLs, ","), strings.Join(m.ClientURLs, ","), stateOf(members, m))
	}
	return table.Flush()
}

// stateOf says in words how a member stands, as far as the one that answered can tell.
func stateOf(members admin.Members, m admin.Member) string {
	switch {
	case m.ID == members.Leader:
		return "leads"
	case m.Present == nil || m.Missing == nil:
		return "-"
	case !*m.Present:
		return "not heard of"
	case *m.Missing > 0:
		return fmt.Sprintf("lacks %d entries", *m.Missing)
	}
	return "has everything"
}

// printAdded shows the members, and how to start the one that was added.
func (t *memberTool) printAdded(members admin.Members, name string, urls []string) error {
	if err := t.print(members); err != nil || t.json {
		return err
	}
	var initial []string
	role := ""
	for _, m := range members.Members {
		who := m.Name
		if slices.Equal(slices.Sorted(slices.Values(urls)), m.PeerURLs) {
			who, role = name, m.Role
		}
		if who == "" {
			continue // it has not started either, so it could tell nothing
		}
		for _, u := range m.PeerURLs {
			initial = append(initial, who+"="+u)
		}
	}
	fmt.Fprintf(t.out, "\nNow start it, with an empty --data-dir and beside its other flags:\n\n"+
		"  okapi serve --name %s --initial-cluster-state existing \\\n    --initial-advertise-peer-urls %s \\\n    --initial-cluster %s\n",
		name, strings.Join(urls, ","), strings.Join(initial, ","))
	if role == "learner" {
		fmt.Fprintf(t.out, "\nand give it its vote when it has caught up:\n\n  okapi member promote %s --endpoints %s\n", name, t.endpoints)
	}
	return nil
}
