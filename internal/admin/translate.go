package admin

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// translate turns a request into changes of the state.
func translate(changes []MemberChange) ([]command.MemberChange, error) {
	if len(changes) == 0 {
		return nil, fmt.Errorf("no changes")
	}
	var out []command.MemberChange
	for _, c := range changes {
		action, known := map[string]command.MemberAction{
			"add": command.AddMember, "remove": command.RemoveMember, "role": command.SetRole, "urls": command.SetPeerURLs,
		}[c.Action]
		if !known {
			return nil, fmt.Errorf("action %q: want add, remove, role or urls", c.Action)
		}
		one := command.MemberChange{Action: action, ID: uint64(c.ID)}
		if action == command.AddMember || action == command.SetRole {
			if one.Role, known = roles()[c.Role]; !known {
				return nil, fmt.Errorf("role %q: want voter, learner or observer", c.Role)
			}
		}
		if action == command.AddMember || action == command.SetPeerURLs {
			urls, err := checkURLs(c.PeerURLs)
			if err != nil {
				return nil, err
			}
			one.PeerURLs = urls
		}
		out = append(out, one)
	}
	return out, nil
}

// roles are the roles by name.
func roles() map[string]command.Role {
	return map[string]command.Role{
		command.Voter.String(): command.Voter, command.Learner.String(): command.Learner, command.Observer.String(): command.Observer,
	}
}

// checkURLs returns peer URLs sorted. Each must have the form http://host:port or https://host:port.
func checkURLs(urls []string) ([]string, error) {
	if len(urls) == 0 {
		return nil, fmt.Errorf("no peer URLs: others could not reach the member")
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Path != "" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("peer URL %q: write http://host:port or https://host:port", text)
		}
		if host, port, err := net.SplitHostPort(u.Host); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("peer URL %q: write http://host:port or https://host:port", text)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(urls))), nil
}

// refused says why the cluster refused a change.
func refused(r state.Result) Problem {
	p := Problem{Code: strings.ReplaceAll(r.Code.String(), " ", "-")}
	switch r.Code {
	case state.MemberExists:
		p.Error = "a member of that id exists, or was removed: ids never come back"
	case state.PeerURLTaken:
		p.Error = "another member has one of these peer URLs: remove that member in the same change, or use others"
	case state.MemberNotFound:
		p.Error = "no such member, or it was removed: see okapi member list"
	case state.QuorumAtRisk:
		p.Error = "too few voters are heard of: with this change the cluster could not decide anything any more. " +
			"Start the members that are down, or remove those that are lost first"
	case state.NotCaughtUp:
		p.Missing, _ = strconv.ParseUint(r.Detail, 10, 64) // 0 if it is no number
		p.Error = fmt.Sprintf("the member lacks %d entries of the log, or has not been heard of for a moment: "+
			"start it, and let it catch up first", p.Missing)
	case state.BadMemberChange:
		p.Error = "the change makes no sense: at least one voter must stay, and a member cannot get the role that it has"
	default:
		p.Error = "the cluster refused the change: " + r.Code.String()
	}
	return p
}

// outcome is an error that says how a command ended.
type outcome interface{ Outcome() string }

// unsettled says how a change ended that has no result.
func unsettled(err error) Problem {
	switch o, ok := err.(outcome); {
	case ok && o.Outcome() == "not-done":
		return Problem{Error: "nothing was changed: the leader has just changed; try again", Code: "not-done"}
	case ok && o.Outcome() == "timeout":
		return Problem{Error: "no answer in time: the cluster has no leader or is about to get one. The change may still be made: " +
			"look at okapi member list before you try again", Code: "timeout"}
	}
	return Problem{Error: fmt.Sprintf("it is not known whether the change was made (%v): look at okapi member list before you try again", err), Code: "unknown-outcome"}
}

// notLeader says that only the leader can do what was asked for, and where it is.
func notLeader(m Members) Problem {
	p := Problem{Code: "not-leader", Error: "this member does not lead, and knows of no leader: try again"}
	for _, one := range m.Members {
		if one.ID == m.Leader {
			p.Error = fmt.Sprintf("this member does not lead: ask the leader %x (%s) at %s", uint64(one.ID), one.Name, strings.Join(one.ClientURLs, ","))
		}
	}
	return p
}
