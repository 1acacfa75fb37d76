package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// The handshake. The side that dials says hello, the other side answers, both in big endian:
//
//	hello   magic 8, oldest version 2, newest version 2, cluster 8, from 8, to 8, incarnation 8,
//	        attempt 8, directory 8, starts 8, feature 8, kind 1, reserved 1, URL bytes 2, CRC32C 4;
//	        then the URLs, CRC32C 4
//	answer  magic 8, refusal 1, reserved 1, version 2, cluster 8, member 8, incarnation 8, feature 8, CRC32C 4
//
// The first twelve bytes of both keep their meaning in every version, so that two builds that
// share no version can still say so. A hello is judged field by field in that order and the
// first wrong one ends it: nothing of another cluster's traffic is decoded.
const (
	magic = "\x89okapi\r\n"

	versionOldest = 1
	versionNewest = 1

	helloBytes  = 84
	answerBytes = 48
	// helloURLBytesMax bounds the URLs that a hello may carry.
	helloURLBytesMax = 4 << 10
)

// linkKind says what a connection is for.
type linkKind uint8

const (
	linkFrames   linkKind = 1
	linkSnapshot linkKind = 2
	// linkJoin is a question of who has no id yet: cluster, from and to are 0. See join.go.
	linkJoin linkKind = 3
)

// refusal is the answer's verdict. Numbers are never reused.
type refusal uint8

const (
	accepted           refusal = 0
	refusedVersion     refusal = 1
	refusedCluster     refusal = 2
	refusedTarget      refusal = 3
	refusedSelf        refusal = 4
	refusedMember      refusal = 5
	refusedCertificate refusal = 6
	refusedStale       refusal = 7
	refusedMalformed   refusal = 8
	refusedRemoved     refusal = 9
	refusedDirectory   refusal = 10
	refusedFeature     refusal = 11
)

// String says in words what the refusing side found.
func (r refusal) String() string {
	switch r {
	case accepted:
		return "accepted"
	case refusedVersion:
		return "no protocol version in common: upgrade the older member"
	case refusedCluster:
		return "the caller belongs to another cluster: check the peer URLs and the cluster token"
	case refusedTarget:
		return "another member answers at this address: check the peer URLs"
	case refusedSelf:
		return "two processes run under one member id: a data directory was copied"
	case refusedMember:
		return "the caller is not, or no longer, a member of this cluster"
	case refusedCertificate:
		return "the certificate does not name the member that the caller claims to be"
	case refusedStale:
		return "a newer link from the same process exists"
	case refusedMalformed:
		return "the hello is malformed"
	case refusedRemoved:
		return ErrRemoved.Error()
	case refusedDirectory:
		return ErrDirectory.Error()
	case refusedFeature:
		return ErrFeature.Error()
	}
	return fmt.Sprintf("refusal %d, which this version does not know", uint8(r))
}

// What Admit may say of a caller, so that the caller is told. Any other error is told as "not a member".
var (
	// ErrRemoved: the caller was removed from the cluster, for ever.
	ErrRemoved = errors.New("the member was removed from the cluster")
	// ErrDirectory: the caller once came with another data directory, or with a later state of this one.
	ErrDirectory = errors.New("the member once had another data directory, or this one in a later state: it was lost, exchanged or rolled back")
	// ErrFeature: the cluster runs at a feature level that the caller does not understand.
	ErrFeature = errors.New("the cluster uses features that the member is too old for: upgrade it")
)

// verdictOf is how an error of Admit is told.
func verdictOf(err error) refusal {
	switch {
	case errors.Is(err, ErrRemoved):
		return refusedRemoved
	case errors.Is(err, ErrDirectory):
		return refusedDirectory
	case errors.Is(err, ErrFeature):
		return refusedFeature
	}
	return refusedMember
}

// RefusedError says that a handshake ended in a refusal, and what the other side called itself.
type RefusedError struct {
	reason  refusal
	cluster uint64
	member  uint64
}

// Error tells the reason and the identity of the side that refused.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("link refused by member %x of cluster %x: %v", e.member, e.cluster, e.reason)
}

// Unwrap gives what Admit of the other side said, if it is one of the errors that are told by name.
func (e *RefusedError) Unwrap() error {
	switch e.reason {
	case refusedRemoved:
		return ErrRemoved
	case refusedDirectory:
		return ErrDirectory
	case refusedFeature:
		return ErrFeature
	}
	return nil
}

var (
	errHelloDamaged = errors.New("handshake is damaged: its checksum does not match")
	errHelloFields  = errors.New("handshake has a field out of range")
)

// strangerError says that the other side does not speak this protocol.
type strangerError struct {
	what string
}

// Error names what the first bytes look like.
func (e *strangerError) Error() string {
	return "the other side does not speak the peer protocol: it sent " + e.what
}

// stranger guesses from the first bytes who is there, so that the log says what to change.
func stranger(first []byte) error {
	switch {
	case len(first) > 1 && first[0] == 0x16 && first[1] == 3:
		return &strangerError{"a TLS hello; this side has no TLS configured for peers"}
	case len(first) > 1 && first[0] == 0x15 && first[1] == 3:
		return &strangerError{"a TLS alert; the other side expects TLS, this side has none configured for peers"}
	case bytes.HasPrefix(first, []byte("GET ")), bytes.HasPrefix(first, []byte("POST ")), bytes.HasPrefix(first, []byte("HTTP/")):
		return &strangerError{"HTTP, as an etcd member, a probe or a browser does"}
	}
	return &strangerError{fmt.Sprintf("%q", first)}
}

// hello is what the dialing side says.
type hello struct {
	versionOldest, versionNewest uint16
	cluster, from, to            uint64
	// incarnation is drawn once per process, attempt counts its connections: together they
	// tell a later link from one that was delayed in the network.
	incarnation, attempt uint64
	// directory, starts and feature are those of Options.
	directory, starts, feature uint64
	kind                       linkKind
	urlBytes                   uint16
	// urls are the caller's own, filled by readURLs.
	urls []string
}

func (h *hello) encode(urls string) []byte {
	b := make([]byte, 0, helloBytes+len(urls)+4)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, h.versionOldest)
	b = binary.BigEndian.AppendUint16(b, h.versionNewest)
	for _, v := range [...]uint64{h.cluster, h.from, h.to, h.incarnation, h.attempt, h.directory, h.starts, h.feature} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, byte(h.kind), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(urls)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	b = append(b, urls...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum([]byte(urls), castagnoli))
}

// readHello reads the fixed part. The versions are judged before what follows them is
// believed: on refusedVersion the rest of h is empty.
func readHello(r io.Reader) (h hello, verdict refusal, err error) {
	var b [helloBytes]byte
	if err := readMagic(r, b[:8]); err != nil {
		return h, accepted, err
	}
	if _, err := io.ReadFull(r, b[8:12]); err != nil {
		return h, accepted, unexpected(err)
	}
	h.versionOldest = binary.BigEndian.Uint16(b[8:])
	h.versionNewest = binary.BigEndian.Uint16(b[10:])
	if h.versionOldest > versionNewest || h.versionNewest < versionOldest {
		return h, refusedVersion, nil
	}
	if _, err := io.ReadFull(r, b[12:]); err != nil {
		return h, accepted, unexpected(err)
	}
	if crc32.Checksum(b[:helloBytes-4], castagnoli) != binary.BigEndian.Uint32(b[helloBytes-4:]) {
		return h, accepted, errHelloDamaged
	}
	fields := [...]*uint64{&h.cluster, &h.from, &h.to, &h.incarnation, &h.attempt, &h.directory, &h.starts, &h.feature}
	for i, field := range fields {
		*field = binary.BigEndian.Uint64(b[12+8*i:])
	}
	rest := b[12+8*len(fields):]
	h.kind = linkKind(rest[0])
	h.urlBytes = binary.BigEndian.Uint16(rest[2:])
	if h.versionOldest > h.versionNewest || h.urlBytes > helloURLBytesMax || h.kind < linkFrames || h.kind > linkJoin {
		return h, refusedMalformed, nil
	}
	return h, accepted, nil
}

// readURLs reads what follows the fixed part of h; only an accepted caller's is read.
func (h *hello) readURLs(r io.Reader) error {
	b := make([]byte, int(h.urlBytes)+4)
	if _, err := io.ReadFull(r, b); err != nil {
		return unexpected(err)
	}
	text := b[:h.urlBytes]
	if crc32.Checksum(text, castagnoli) != binary.BigEndian.Uint32(b[h.urlBytes:]) {
		return errHelloDamaged
	}
	if len(text) > 0 {
		h.urls = strings.Split(string(text), "\n")
	}
	return nil
}

// answer is what the accepting side says.
type answer struct {
	verdict     refusal
	version     uint16
	cluster     uint64
	member      uint64
	incarnation uint64
	feature     uint64
}

func (a *answer) encode() []byte {
	b := make([]byte, 0, answerBytes)
	b = append(b, magic...)
	b = append(b, byte(a.verdict), 0)
	b = binary.BigEndian.AppendUint16(b, a.version)
	for _, v := range [...]uint64{a.cluster, a.member, a.incarnation, a.feature} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func readAnswer(r io.Reader) (a answer, err error) {
	var b [answerBytes]byte
	if err := readMagic(r, b[:8]); err != nil {
		return a, err
	}
	if _, err := io.ReadFull(r, b[8:]); err != nil {
		return a, unexpected(err)
	}
	if crc32.Checksum(b[:answerBytes-4], castagnoli) != binary.BigEndian.Uint32(b[answerBytes-4:]) {
		return a, errHelloDamaged
	}
	a.verdict = refusal(b[8])
	a.version = binary.BigEndian.Uint16(b[10:])
	a.cluster = binary.BigEndian.Uint64(b[12:])
	a.member = binary.BigEndian.Uint64(b[20:])
	a.incarnation = binary.BigEndian.Uint64(b[28:])
	a.feature = binary.BigEndian.Uint64(b[36:])
	return a, nil
}

// readMagic reads the eight bytes with which either side begins. It does not wait for all of
// them once one is wrong, because a stranger may send fewer and wait for us.
func readMagic(r io.Reader, b []byte) error {
	n := 0
	for n < len(b) {
		m, err := r.Read(b[n:])
		n += m
		if n > 0 && string(b[:n]) != magic[:n] {
			return stranger(b[:n])
		}
		if err != nil && n < len(b) {
			if n > 0 {
				err = unexpected(err)
			}
			return err
		}
	}
	return nil
}

// check is the dialing side's judgement of an answer: the other side must be whom h names.
func (a *answer) check(h *hello) error {
	if a.verdict != accepted {
		return &RefusedError{reason: a.verdict, cluster: a.cluster, member: a.member}
	}
	if a.cluster != h.cluster || a.member != h.to || a.version < h.versionOldest || a.version > h.versionNewest {
		return fmt.Errorf("%w: accepted by member %x of cluster %x in version %d", errHelloFields, a.member, a.cluster, a.version)
	}
	return nil
}
