// Package admin is the HTTP door for those who run a cluster: who its members are, and changes of that. It speaks JSON under
// /okapi/v1/ on the port of etcd clients, beside /health and /metrics, and is what "okapi member" talks to.
//
//	GET  /okapi/v1/members          a Members
//	POST /okapi/v1/members          a Change; the answer is the Members after it
//	POST /okapi/v1/leader           a Transfer; the answer is the Members after it
//
// Whatever goes wrong is a Problem, with a status that says whose fault it is. Ids are hexadecimal, as etcdctl prints
// them.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// Cluster is the member behind the door.
type Cluster interface {
	// Describe says who belongs to the cluster, as this member knows.
	Describe() Members
	// Change carries out changes and returns how they ended. An id of 0 of one to add is drawn. The error says why the outcome is
	// not known, or ctx's.
	Change(ctx context.Context, changes []command.MemberChange) (state.Result, error)
	// MoveLeader hands the office of leader to a voter, if this member leads, and returns once that one leads, or with the error of ctx.
	MoveLeader(ctx context.Context, to uint64) error
}

// ID is the id of a member or cluster, hexadecimal in JSON.
type ID uint64

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(id), 16), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("id %q: want a hexadecimal number", text)
	}
	*id = ID(n)
	return nil
}

// Members is who belongs to a cluster, as one of them knows.
type Members struct {
	Cluster ID `json:"cluster"`
	// AnsweredBy is the member that answers, and Leader the one that leads, as it believes; 0 if there is none.
	AnsweredBy ID `json:"answered_by"`
	Leader     ID `json:"leader"`
	// Level is the feature level of the cluster.
	Level   uint64   `json:"level"`
	Members []Member `json:"members"`
}

// Member is one member.
type Member struct {
	ID ID `json:"id"`
	// Name is empty if the member has not started yet.
	Name       string   `json:"name"`
	Role       string   `json:"role"`
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls"`
	// Missing is how many committed entries the member is not known to have, and Present whether it was heard of within an
	// election timeout. Only the leader can tell; others leave them out.
	Missing *uint64 `json:"missing,omitempty"`
	Present *bool   `json:"present,omitempty"`
}

// Change is changes that are made together.
type Change struct {
	Changes []MemberChange `json:"changes"`
}

// MemberChange is a change of one member.
type MemberChange struct {
	// Action is "add", "remove", "role" or "urls".
	Action string `json:"action"`
	// ID is whom it concerns; for "add" it may be left out.
	ID ID `json:"id,omitempty"`
	// Role is "voter", "learner" or "observer", for "add" and "role".
	Role string `json:"role,omitempty"`
	// PeerURLs are for "add" and "urls".
	PeerURLs []string `json:"peer_urls,omitempty"`
}

// Transfer hands the office of leader on.
type Transfer struct {
	To ID `json:"to"`
}

// Problem is what went wrong.
type Problem struct {
	// Error says it to people, with what to do.
	Error string `json:"error"`
	// Code names it to programs: a code of the state machine with dashes for blanks, or "bad-request", "not-leader",
	// "not-done", "unknown-outcome", "timeout".
	Code string `json:"code"`
	// Missing is how many entries a member lacks, for "not-caught-up".
	Missing uint64 `json:"missing,omitempty"`
}

const (
	// requestTimeout bounds one change: a joint change needs a few round trips, a hand-over of the office an election.
	requestTimeout = 10 * time.Second
	// bodyBytesMax bounds a request.
	bodyBytesMax = 1 << 20
)

// door serves the paths.
type door struct{ cluster Cluster }

// New returns the handler of all paths under /okapi/v1/.
func New(c Cluster) http.Handler {
	d := door{c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /okapi/v1/members", d.list)
	mux.HandleFunc("POST /okapi/v1/members", d.change)
	mux.HandleFunc("POST /okapi/v1/leader", d.transfer)
	return mux
}

func (d door) list(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, d.cluster.Describe())
}

func (d door) change(w http.ResponseWriter, r *http.Request) {
	var c Change
	if !decode(w, r, &c) {
		return
	}
	changes, err := translate(c.Changes)
	if err != nil {
		answer(w, http.StatusBadRequest, Problem{Error: err.Error(), Code: "bad-request"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	result, err := d.cluster.Change(ctx, changes)
	if err != nil {
		answer(w, http.StatusServiceUnavailable, unsettled(err))
		return
	}
	if result.Code != state.OK {
		answer(w, http.StatusConflict, refused(result))
		return
	}
	answer(w, http.StatusOK, d.cluster.Describe())
}

func (d door) transfer(w http.ResponseWriter, r *http.Request) {
	var t Transfer
	if !decode(w, r, &t) {
		return
	}
	if m := d.cluster.Describe(); m.Leader != m.AnsweredBy {
		answer(w, http.StatusConflict, notLeader(m))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	if err := d.cluster.MoveLeader(ctx, uint64(t.To)); err != nil {
		answer(w, http.StatusServiceUnavailable, Problem{
			Error: fmt.Sprintf("member %x does not lead: it has no vote, cannot be reached or has not caught up (%v)", uint64(t.To), err), Code: "timeout",
		})
		return
	}
	answer(w, http.StatusOK, d.cluster.Describe())
}

// decode reads a request; false if it has been answered already.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	in.DisallowUnknownFields()
	err := in.Decode(into)
	if err == nil {
		if _, more := in.Token(); more == nil || !errors.Is(more, io.EOF) {
			err = errors.New("something follows the request")
		}
	}
	if err != nil {
		answer(w, http.StatusBadRequest, Problem{Error: "the request cannot be read: " + err.Error(), Code: "bad-request"})
		return false
	}
	return true
}

// answer writes a body.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who does not read it has gone
}
