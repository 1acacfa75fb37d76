package command

import (
	"encoding/binary"
	"errors"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// The codec, in one place. An encoded batch is
//
//	version byte, time, number of proposals, proposals
//
// and an encoded proposal
//
//	member (8 bytes), number, caller, kind byte, fields of the command
//
// Numbers are varints (zigzag where they may be negative), ids that are drawn at random take
// 8 bytes little-endian, strings and byte slices carry their length. Nothing is aligned,
// nothing is optional except by a flag bit, and nothing is ignored: a bit, kind or byte that this
// version does not know is an error. A field or kind is therefore never added within a
// version: it raises the version, and it is the cluster's feature level that says when the higher
// one may be written. Version 1 is that of the first release.
const (
	// Version is the version that AppendBatch and AppendProposal write.
	Version byte = 1
	// MaxTxnDepth is how deep a Txn may nest: a Txn without a Txn in it has depth 1. Whoever
	// makes Txns from requests refuses deeper ones; the codec neither writes nor reads them.
	MaxTxnDepth = 256
)

// Errors of decoding. They are wrapped with the name of the field and its offset in the data.
var (
	// ErrMalformed says that the bytes are no encoding of a batch or proposal. In a log whose
	// checksums hold it means a defect, not a damaged disk.
	ErrMalformed = errors.New("malformed command")
	// ErrVersion says that the bytes were written by a newer codec than this one.
	ErrVersion = errors.New("unknown command codec version")
)

// place says where a command stands, because not every kind may stand everywhere.
type place uint8

const (
	atTop   place = iota // a proposal's own command
	inTxn                // an operation of a Txn
	inMulti              // an operation of a Multi
)

// allows says whether a command of the kind may stand there.
func (p place) allows(k Kind) bool {
	switch p {
	case inTxn:
		return k == KindPut || k == KindRange || k == KindDeleteRange || k == KindTxn
	case inMulti:
		return k == KindCreate || k == KindDelete || k == KindSetData || k == KindCheck
	default:
		return k != KindRange && k != KindCheck
	}
}

// Flag bits of the caller byte; the two lowest bits are the Protocol.
const (
	callerProtocol   = 0x03
	callerUser       = 0x04
	callerIdentities = 0x08
	callerSession    = 0x10
	callerBits       = 0x1f
)

// Upper bounds of encoded lengths, in bytes.
const (
	maxVarint   = binary.MaxVarintLen64
	maxVarint32 = binary.MaxVarintLen32
	idSize      = 8
)

// AppendBatch adds the encoding of the batch to b and returns it. A batch with a command in
// a place where its kind may not stand (such as a Range outside a Txn) is a defect of the
// caller: it must not get into the log, where every member would choke on it.
func AppendBatch(b []byte, batch *Batch) []byte {
	b = append(b, Version)
	b = binary.AppendVarint(b, batch.Time)
	b = binary.AppendUvarint(b, uint64(len(batch.Proposals)))
	for i := range batch.Proposals {
		b = appendProposal(b, &batch.Proposals[i])
	}
	return b
}

// AppendProposal adds the encoding of one proposal by itself, as it is forwarded to the leader,
// to b and returns it. The same rules hold as for AppendBatch.
func AppendProposal(b []byte, p *Proposal) []byte {
	return appendProposal(append(b, Version), p)
}

// Size is an upper bound of what the proposal takes in a batch or by itself, in bytes. It is exact up to
// the slack of varints, which is at most a few dozen bytes plus a few for each operation.
func Size(p *Proposal) int {
	n := 1 + idSize + maxVarint + callerMaxSize(&p.Caller)
	return n + 1 + p.Command.maxSize()
}

func appendProposal(b []byte, p *Proposal) []byte {
	b = appendID(b, p.ID.Member)
	b = binary.AppendUvarint(b, p.ID.Number)
	b = appendCaller(b, &p.Caller)
	if t, ok := p.Command.(*Txn); ok {
		invariant.Assert(!t.deeperThan(MaxTxnDepth), "a proposed txn is not nested too deep")
	}
	return appendCommand(b, p.Command, atTop)
}

func appendCaller(b []byte, c *Caller) []byte {
	invariant.Assert(c.Protocol <= ZooKeeper, "a proposal comes from a known protocol")
	flags := byte(c.Protocol)
	if c.User != "" || c.AuthRevision != 0 {
		flags |= callerUser
	}
	if len(c.Identities) > 0 {
		flags |= callerIdentities
	}
	if c.Session != 0 || c.Generation != 0 || c.Sequence != 0 {
		flags |= callerSession
	}
	b = append(b, flags)
	if flags&callerUser != 0 {
		b = appendString(b, c.User)
		b = binary.AppendUvarint(b, c.AuthRevision)
	}
	if flags&callerIdentities != 0 {
		b = binary.AppendUvarint(b, uint64(len(c.Identities)))
		for i := range c.Identities {
			b = appendString(b, c.Identities[i].Scheme)
			b = appendString(b, c.Identities[i].ID)
		}
	}
	if flags&callerSession != 0 {
		b = appendID(b, uint64(c.Session))
		b = binary.AppendUvarint(b, c.Generation)
		b = binary.AppendUvarint(b, c.Sequence)
	}
	return b
}

func callerMaxSize(c *Caller) int {
	n := 1 + stringMaxSize(c.User) + maxVarint // flags, user, auth revision
	n += maxVarint                             // count of identities
	for i := range c.Identities {
		n += stringMaxSize(c.Identities[i].Scheme) + stringMaxSize(c.Identities[i].ID)
	}
	return n + idSize + 2*maxVarint // session, generation, sequence
}

// DecodeBatch reads an encoded batch. It reuses the slice into.Proposals. All strings and byte slices of the
// result alias data, which lives as long as any of them does and must not be changed any more. On error, which wraps
// ErrMalformed or ErrVersion, into holds no proposals.
func DecodeBatch(data []byte, into *Batch) error {
	d := newDecoder(data)
	old := into.Proposals
	into.Time = d.varint("time")
	n := d.count("number of proposals", minProposal)
	out := old[:0]
	if cap(out) < n {
		out = make([]Proposal, 0, n)
	}
	for i := 0; i < n && d.err == nil; i++ {
		out = out[:i+1]
		d.proposal(&out[i])
	}
	if err := d.finish(); err != nil {
		clear(out)
		clear(old)
		*into = Batch{Proposals: old[:0]}
		return err
	}
	if len(old) > n {
		clear(old[n:]) // what a longer batch before left there would be kept from the collector
	}
	into.Proposals = out
	return nil
}

// DecodeProposal reads what AppendProposal wrote. Ownership and errors are those of DecodeBatch;
// on error, into is empty.
func DecodeProposal(data []byte, into *Proposal) error {
	d := newDecoder(data)
	d.proposal(into)
	if err := d.finish(); err != nil {
		*into = Proposal{}
		return err
	}
	return nil
}
