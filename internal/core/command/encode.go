package command

import (
	"encoding/binary"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// Flag bits of the fields of commands.
const (
	putPrevKV      = 0x01
	putIgnoreValue = 0x02
	putIgnoreLease = 0x04
	putLease       = 0x08 // a lease id follows
	putBits        = 0x0f

	rangeKeysOnly  = 0x01
	rangeCountOnly = 0x02
	rangeRest      = 0x04 // any of limit, revision, sort and bounds follows
	rangeBits      = 0x07

	deletePrevKV = 0x01
	deleteBits   = 0x01

	settingsExtended = 0x01
	settingsEnforce  = 0x02
	settingsSkipACL  = 0x04
	settingsBits     = 0x07
)

func appendID(b []byte, id uint64) []byte { return binary.LittleEndian.AppendUint64(b, id) }

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func stringMaxSize(s string) int { return maxVarint32 + len(s) }

// appendBytes writes the length plus one, and 0 for nil, which is kept apart from empty.
func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(v))+1)
	return append(b, v...)
}

func bytesMaxSize(v []byte) int { return maxVarint32 + len(v) }

func bitIf(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// appendCommand writes kind and fields.
func appendCommand(b []byte, c Command, where place) []byte {
	k := c.Kind()
	invariant.Assert(where.allows(k), "a command stands only where its kind may")
	return c.appendBody(append(b, byte(k)))
}

func appendCommands(b []byte, list []Command, where place) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, c := range list {
		b = appendCommand(b, c, where)
	}
	return b
}

func commandsMaxSize(list []Command) int {
	n := maxVarint32
	for _, c := range list {
		n += 1 + c.maxSize()
	}
	return n
}

func (c *Put) appendBody(b []byte) []byte {
	b = append(b, bitIf(c.PrevKV, putPrevKV)|bitIf(c.IgnoreValue, putIgnoreValue)|
		bitIf(c.IgnoreLease, putIgnoreLease)|bitIf(c.Lease != 0, putLease))
	b = appendString(b, c.Key)
	b = appendBytes(b, c.Value)
	if c.Lease != 0 {
		b = appendID(b, uint64(c.Lease))
	}
	return b
}

func (c *Put) maxSize() int { return 1 + stringMaxSize(c.Key) + bytesMaxSize(c.Value) + idSize }

// plain says that the fields behind the flag rangeRest are all zero.
func (c *Range) plain() bool {
	return *c == Range{Key: c.Key, End: c.End, KeysOnly: c.KeysOnly, CountOnly: c.CountOnly}
}

func (c *Range) appendBody(b []byte) []byte {
	rest := !c.plain()
	b = append(b, bitIf(c.KeysOnly, rangeKeysOnly)|bitIf(c.CountOnly, rangeCountOnly)|bitIf(rest, rangeRest))
	b = appendString(b, c.Key)
	b = appendString(b, c.End)
	if !rest {
		return b
	}
	b = binary.AppendVarint(b, c.Limit)
	b = binary.AppendVarint(b, c.Revision)
	b = binary.AppendVarint(b, int64(c.SortOrder))
	b = binary.AppendVarint(b, int64(c.SortTarget))
	b = binary.AppendVarint(b, c.MinModRevision)
	b = binary.AppendVarint(b, c.MaxModRevision)
	b = binary.AppendVarint(b, c.MinCreateRevision)
	return binary.AppendVarint(b, c.MaxCreateRevision)
}

func (c *Range) maxSize() int {
	return 1 + stringMaxSize(c.Key) + stringMaxSize(c.End) + 6*maxVarint + 2*maxVarint32
}

func (c *DeleteRange) appendBody(b []byte) []byte {
	b = append(b, bitIf(c.PrevKV, deletePrevKV))
	b = appendString(b, c.Key)
	return appendString(b, c.End)
}

func (c *DeleteRange) maxSize() int { return 1 + stringMaxSize(c.Key) + stringMaxSize(c.End) }

func (c *Compare) append(b []byte) []byte {
	b = appendString(b, c.Key)
	b = appendString(b, c.End)
	b = binary.AppendVarint(b, int64(c.Target))
	b = binary.AppendVarint(b, int64(c.Result))
	b = binary.AppendVarint(b, c.Number)
	return appendBytes(b, c.Value)
}

func (c *Compare) maxSize() int {
	return stringMaxSize(c.Key) + stringMaxSize(c.End) + 2*maxVarint32 + maxVarint + bytesMaxSize(c.Value)
}

// deeperThan says whether the Txn nests deeper than limit.
func (c *Txn) deeperThan(limit int) bool {
	if limit == 0 {
		return true
	}
	for _, branch := range [2][]Command{c.Success, c.Failure} {
		for _, op := range branch {
			if t, ok := op.(*Txn); ok && t.deeperThan(limit-1) {
				return true
			}
		}
	}
	return false
}

func (c *Txn) appendBody(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(c.Compares)))
	for i := range c.Compares {
		b = c.Compares[i].append(b)
	}
	b = appendCommands(b, c.Success, inTxn)
	return appendCommands(b, c.Failure, inTxn)
}

func (c *Txn) maxSize() int {
	n := maxVarint32
	for i := range c.Compares {
		n += c.Compares[i].maxSize()
	}
	return n + commandsMaxSize(c.Success) + commandsMaxSize(c.Failure)
}

func (c *Compact) appendBody(b []byte) []byte { return binary.AppendVarint(b, c.Revision) }

func (c *Compact) maxSize() int { return maxVarint }

func (c *LeaseGrant) appendBody(b []byte) []byte {
	return binary.AppendVarint(appendID(b, uint64(c.ID)), c.TTL)
}

func (c *LeaseGrant) maxSize() int { return idSize + maxVarint }

func (c *LeaseRevoke) appendBody(b []byte) []byte { return appendID(b, uint64(c.ID)) }

func (c *LeaseRevoke) maxSize() int { return idSize }

func (c *Alarm) appendBody(b []byte) []byte {
	b = binary.AppendVarint(b, int64(c.Action))
	b = appendID(b, c.Member)
	return binary.AppendVarint(b, int64(c.Alarm))
}

func (c *Alarm) maxSize() int { return idSize + 2*maxVarint32 }

func appendACL(b []byte, list []ACL) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = binary.AppendVarint(b, int64(list[i].Perms))
		b = appendString(b, list[i].Scheme)
		b = appendString(b, list[i].ID)
	}
	return b
}

func aclMaxSize(list []ACL) int {
	n := maxVarint32
	for i := range list {
		n += maxVarint32 + stringMaxSize(list[i].Scheme) + stringMaxSize(list[i].ID)
	}
	return n
}

func (c *Create) appendBody(b []byte) []byte {
	b = appendString(b, c.Path)
	b = appendBytes(b, c.Data)
	b = appendACL(b, c.ACL)
	b = binary.AppendVarint(b, int64(c.Flags))
	return binary.AppendVarint(b, c.TTL)
}

func (c *Create) maxSize() int {
	return stringMaxSize(c.Path) + bytesMaxSize(c.Data) + aclMaxSize(c.ACL) + maxVarint32 + maxVarint
}

func (c *Delete) appendBody(b []byte) []byte {
	return binary.AppendVarint(appendString(b, c.Path), int64(c.Version))
}

func (c *Delete) maxSize() int { return stringMaxSize(c.Path) + maxVarint32 }

func (c *SetData) appendBody(b []byte) []byte {
	b = appendString(b, c.Path)
	b = appendBytes(b, c.Data)
	return binary.AppendVarint(b, int64(c.Version))
}

func (c *SetData) maxSize() int { return stringMaxSize(c.Path) + bytesMaxSize(c.Data) + maxVarint32 }

func (c *SetACL) appendBody(b []byte) []byte {
	b = appendString(b, c.Path)
	b = appendACL(b, c.ACL)
	return binary.AppendVarint(b, int64(c.Version))
}

func (c *SetACL) maxSize() int { return stringMaxSize(c.Path) + aclMaxSize(c.ACL) + maxVarint32 }

func (c *Check) appendBody(b []byte) []byte {
	return binary.AppendVarint(appendString(b, c.Path), int64(c.Version))
}

func (c *Check) maxSize() int { return stringMaxSize(c.Path) + maxVarint32 }

func (c *Multi) appendBody(b []byte) []byte { return appendCommands(b, c.Ops, inMulti) }

func (c *Multi) maxSize() int { return commandsMaxSize(c.Ops) }

func (c *OpenSession) appendBody(b []byte) []byte {
	return appendSession(b, c.ID, &c.Password, c.Timeout)
}

func (c *OpenSession) maxSize() int { return idSize + PasswordSize + maxVarint32 }

func (c *AttachSession) appendBody(b []byte) []byte {
	return appendSession(b, c.ID, &c.Password, c.Timeout)
}

func (c *AttachSession) maxSize() int { return idSize + PasswordSize + maxVarint32 }

func appendSession(b []byte, id int64, password *[PasswordSize]byte, timeout int32) []byte {
	b = appendID(b, uint64(id))
	b = append(b, password[:]...)
	return binary.AppendVarint(b, int64(timeout))
}

func (*CloseSession) appendBody(b []byte) []byte { return b }

func (*CloseSession) maxSize() int { return 0 }

func (c *Bootstrap) appendBody(b []byte) []byte {
	s := &c.Settings
	b = append(b, bitIf(s.ExtendedTypes, settingsExtended)|bitIf(s.EnforceQuota, settingsEnforce)|
		bitIf(s.SkipACL, settingsSkipACL))
	b = appendString(b, s.TreePrefix)
	b = binary.AppendVarint(b, s.TreeHistory)
	b = binary.AppendVarint(b, s.QuotaBytes)
	return binary.AppendVarint(b, s.TreeQuotaBytes)
}

func (c *Bootstrap) maxSize() int { return 1 + stringMaxSize(c.Settings.TreePrefix) + 3*maxVarint }

func (c *Expire) appendBody(b []byte) []byte {
	b = appendID(b, uint64(c.ID))
	b = binary.AppendUvarint(b, c.Generation)
	return binary.AppendUvarint(b, c.Term)
}

func (c *Expire) maxSize() int { return idSize + 2*maxVarint }

func (c *Reap) appendBody(b []byte) []byte {
	return binary.AppendVarint(appendString(b, c.Path), c.Czxid)
}

func (c *Reap) maxSize() int { return stringMaxSize(c.Path) + maxVarint }

func (c *PublishMember) appendBody(b []byte) []byte {
	return appendTexts(appendString(appendID(b, c.ID), c.Name), c.ClientURLs)
}

func (c *PublishMember) maxSize() int {
	return idSize + stringMaxSize(c.Name) + textsMaxSize(c.ClientURLs)
}
