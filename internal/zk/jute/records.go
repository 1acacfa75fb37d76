package jute

import "encoding/binary"

// The records of a connection's life. Each has Decode, which fills it from a Reader whose Err
// tells in the end whether that went well, and Append, which adds its encoding to a slice.

// ConnectRequest is the first message of a client; it has no header in front.
type ConnectRequest struct {
	ProtocolVersion int32
	// LastZxidSeen is the largest zxid that the client has seen in a reply.
	LastZxidSeen int64
	// TimeoutMS is the session timeout that the client asks for.
	TimeoutMS int32
	// SessionID is 0 for a new session.
	SessionID int64
	Password  []byte
	// ReadOnly says that a member without a quorum will do. HasReadOnly says that the field
	// stands in the message: old clients leave it out, and must then not find it in the answer.
	ReadOnly, HasReadOnly bool
}

// Decode reads the record.
func (m *ConnectRequest) Decode(r *Reader) {
	m.ProtocolVersion = r.Int32()
	m.LastZxidSeen = r.Int64()
	m.TimeoutMS = r.Int32()
	m.SessionID = r.Int64()
	m.Password = r.Bytes()
	m.HasReadOnly = r.Err() == nil && r.Remaining() > 0
	m.ReadOnly = m.HasReadOnly && r.Bool()
}

// Append writes the record.
func (m *ConnectRequest) Append(b []byte) []byte {
	b = AppendInt32(b, m.ProtocolVersion)
	b = AppendInt64(b, m.LastZxidSeen)
	b = AppendInt32(b, m.TimeoutMS)
	b = AppendInt64(b, m.SessionID)
	b = AppendBytes(b, m.Password)
	if m.HasReadOnly {
		b = AppendBool(b, m.ReadOnly)
	}
	return b
}

// ConnectResponse answers a ConnectRequest; it has no header in front. A TimeoutMS and SessionID
// of 0 tell the client that its session is gone.
type ConnectResponse struct {
	ProtocolVersion int32
	// TimeoutMS is the negotiated session timeout.
	TimeoutMS int32
	SessionID int64
	Password  []byte
	// ReadOnly says that the member serves reads only; HasReadOnly as in ConnectRequest.
	ReadOnly, HasReadOnly bool
}

// Decode reads the record.
func (m *ConnectResponse) Decode(r *Reader) {
	m.ProtocolVersion = r.Int32()
	m.TimeoutMS = r.Int32()
	m.SessionID = r.Int64()
	m.Password = r.Bytes()
	m.HasReadOnly = r.Err() == nil && r.Remaining() > 0
	m.ReadOnly = m.HasReadOnly && r.Bool()
}

// Append writes the record.
func (m *ConnectResponse) Append(b []byte) []byte {
	b = AppendInt32(b, m.ProtocolVersion)
	b = AppendInt32(b, m.TimeoutMS)
	b = AppendInt64(b, m.SessionID)
	b = AppendBytes(b, m.Password)
	if m.HasReadOnly {
		b = AppendBool(b, m.ReadOnly)
	}
	return b
}

// RequestHeader stands in front of each request but the first.
type RequestHeader struct {
	Xid int32
	Op  OpCode
}

// Decode reads the record.
func (m *RequestHeader) Decode(r *Reader) {
	m.Xid = r.Int32()
	m.Op = OpCode(r.Int32())
}

// Append writes the record.
func (m *RequestHeader) Append(b []byte) []byte {
	return AppendInt32(AppendInt32(b, m.Xid), int32(m.Op))
}

// ReplyHeader stands in front of each reply and notification. The body is absent unless Err is 0.
type ReplyHeader struct {
	Xid  int32
	Zxid int64
	Err  ErrorCode
}

// Decode reads the record.
func (m *ReplyHeader) Decode(r *Reader) {
	m.Xid = r.Int32()
	m.Zxid = r.Int64()
	m.Err = ErrorCode(r.Int32())
}

// Append writes the record.
func (m *ReplyHeader) Append(b []byte) []byte {
	return AppendInt32(AppendInt64(AppendInt32(b, m.Xid), m.Zxid), int32(m.Err))
}

// ACL is one entry of an access list.
type ACL struct {
	// Perms are the permission bits.
	Perms      int32
	Scheme, ID string
}

// aclBytesMin is the size of the smallest ACL: two empty strings.
const aclBytesMin = 12

// Decode reads the record. A null scheme or id is read as empty, which no scheme accepts.
func (m *ACL) Decode(r *Reader) {
	m.Perms = r.Int32()
	m.Scheme = r.NullableString()
	m.ID = r.NullableString()
}

// Append writes the record.
func (m *ACL) Append(b []byte) []byte {
	return AppendString(AppendString(AppendInt32(b, m.Perms), m.Scheme), m.ID)
}

// decodeACLs reads a vector of ACL; nil for null.
func decodeACLs(r *Reader) []ACL {
	n := r.Count(aclBytesMin)
	if n < 0 || r.Err() != nil {
		return nil
	}
	acls := make([]ACL, n)
	for i := range acls {
		acls[i].Decode(r)
	}
	return acls
}

// AppendACLs adds a vector of ACL to b; nil is null.
func AppendACLs(b []byte, acls []ACL) []byte {
	if acls == nil {
		return AppendInt32(b, -1)
	}
	b = AppendInt32(b, int32(len(acls)))
	for i := range acls {
		b = acls[i].Append(b)
	}
	return b
}

// Stat is the metadata of a znode.
type Stat struct {
	Czxid, Mzxid                int64
	Ctime, Mtime                int64 // ms since the epoch
	Version, Cversion, Aversion int32
	EphemeralOwner              int64
	DataLength, NumChildren     int32
	Pzxid                       int64
}

// statBytes is the size of an encoded Stat.
const statBytes = 68

// Decode reads the record.
func (m *Stat) Decode(r *Reader) {
	b := r.take(statBytes)
	if b == nil {
		*m = Stat{}
		return
	}
	m.Czxid = int64(binary.BigEndian.Uint64(b[0:]))
	m.Mzxid = int64(binary.BigEndian.Uint64(b[8:]))
	m.Ctime = int64(binary.BigEndian.Uint64(b[16:]))
	m.Mtime = int64(binary.BigEndian.Uint64(b[24:]))
	m.Version = int32(binary.BigEndian.Uint32(b[32:]))
	m.Cversion = int32(binary.BigEndian.Uint32(b[36:]))
	m.Aversion = int32(binary.BigEndian.Uint32(b[40:]))
	m.EphemeralOwner = int64(binary.BigEndian.Uint64(b[44:]))
	m.DataLength = int32(binary.BigEndian.Uint32(b[52:]))
	m.NumChildren = int32(binary.BigEndian.Uint32(b[56:]))
	m.Pzxid = int64(binary.BigEndian.Uint64(b[60:]))
}

// Append writes the record, which stands in nearly every reply, at one go.
func (m *Stat) Append(out []byte) []byte {
	var b [statBytes]byte
	binary.BigEndian.PutUint64(b[0:], uint64(m.Czxid))
	binary.BigEndian.PutUint64(b[8:], uint64(m.Mzxid))
	binary.BigEndian.PutUint64(b[16:], uint64(m.Ctime))
	binary.BigEndian.PutUint64(b[24:], uint64(m.Mtime))
	binary.BigEndian.PutUint32(b[32:], uint32(m.Version))
	binary.BigEndian.PutUint32(b[36:], uint32(m.Cversion))
	binary.BigEndian.PutUint32(b[40:], uint32(m.Aversion))
	binary.BigEndian.PutUint64(b[44:], uint64(m.EphemeralOwner))
	binary.BigEndian.PutUint32(b[52:], uint32(m.DataLength))
	binary.BigEndian.PutUint32(b[56:], uint32(m.NumChildren))
	binary.BigEndian.PutUint64(b[60:], uint64(m.Pzxid))
	return append(out, b[:]...)
}

// AuthPacket is the body of an auth request.
type AuthPacket struct {
	// Type is always 0 and never looked at.
	Type   int32
	Scheme string
	Auth   []byte
}

// Decode reads the record.
func (m *AuthPacket) Decode(r *Reader) {
	m.Type = r.Int32()
	m.Scheme = r.NullableString()
	m.Auth = r.Bytes()
}

// Append writes the record.
func (m *AuthPacket) Append(b []byte) []byte {
	return AppendBytes(AppendString(AppendInt32(b, m.Type), m.Scheme), m.Auth)
}

// SASLToken is the body of a SASL request (GetSASLRequest) and of its reply (SetSASLResponse).
type SASLToken struct {
	Token []byte
}

// Decode reads the record.
func (m *SASLToken) Decode(r *Reader) { m.Token = r.Bytes() }

// Append writes the record.
func (m *SASLToken) Append(b []byte) []byte { return AppendBytes(b, m.Token) }

// WatcherEvent is the body of a notification.
type WatcherEvent struct {
	Type  EventType
	State int32
	Path  string
}

// Decode reads the record.
func (m *WatcherEvent) Decode(r *Reader) {
	m.Type = EventType(r.Int32())
	m.State = r.Int32()
	m.Path = r.String()
}

// Append writes the record.
func (m *WatcherEvent) Append(b []byte) []byte {
	return AppendString(AppendInt32(AppendInt32(b, int32(m.Type)), m.State), m.Path)
}
