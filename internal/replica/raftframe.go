package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// Fields of raft's messages by number (raft.proto), as far as they are taken apart here.
const (
	messageEntries protowire.Number = 7

	entryType  protowire.Number = 1
	entryTerm  protowire.Number = 2
	entryIndex protowire.Number = 3
	entryData  protowire.Number = 4
)

func appendRaft(b []byte, m *raftpb.Message) []byte {
	b = append(b, byte(frameRaft))
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	invariant.Assert(err == nil, "a raft message, which has no required fields and no strings, encodes", err)
	return b
}

// decodeRaft parses a raft message. Its entries, most of what a follower receives, are taken out by hand, because
// proto.Unmarshal copies their data: here they alias body.
func decodeRaft(body []byte) (*raftpb.Message, error) {
	m := new(raftpb.Message)
	rest, err := takeEntries(body, m)
	if err != nil {
		return nil, fmt.Errorf("decode entries of raft message: %w", err)
	}
	if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(rest, m); err != nil {
		return nil, fmt.Errorf("decode raft message: %w", err)
	}
	return m, nil
}

// takeEntries decodes the entries of a message into m and returns the other fields.
func takeEntries(body []byte, m *raftpb.Message) (rest []byte, err error) {
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, body[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := body[:n+size]
		body = body[n+size:]
		if number != messageEntries || kind != protowire.BytesType {
			rest = append(rest, field...)
			continue
		}
		encoded, _ := protowire.ConsumeBytes(field[n:])
		e, err := decodeEntry(encoded)
		if err != nil {
			return nil, err
		}
		m.Entries = append(m.Entries, e)
	}
	return rest, nil
}

// decodeEntry parses an entry, whose data alias b.
func decodeEntry(b []byte) (*raftpb.Entry, error) {
	e := new(raftpb.Entry)
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		switch {
		case number == entryData && kind == protowire.BytesType:
			e.Data, n = protowire.ConsumeBytes(b)
			e.Data = slices.Clip(e.Data)
		case kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			if err := setNumber(e, number, v); err != nil {
				return nil, err
			}
		default: // of a newer raft
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return e, nil
}

// setNumber sets a field of an entry that is a number; one that is not known is left out.
func setNumber(e *raftpb.Entry, number protowire.Number, v uint64) error {
	switch number {
	case entryType:
		if v > uint64(raftpb.EntryConfChangeV2) {
			return fmt.Errorf("entry of type %d: %w", v, errFrame)
		}
		e.Type = raftpb.EntryType(v).Enum()
	case entryTerm:
		e.Term = &v
	case entryIndex:
		e.Index = &v
	}
	return nil
}
