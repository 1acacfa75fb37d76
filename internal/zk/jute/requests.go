package jute

// CreateRequest is the body of create, create2 and createContainer.
type CreateRequest struct {
	Path string
	// Data is a part of the message; nil is null.
	Data  []byte
	ACL   []ACL
	Flags int32
}

// Decode reads the record.
func (m *CreateRequest) Decode(r *Reader) {
	m.Path = r.String()
	m.Data = r.Bytes()
	m.ACL = decodeACLs(r)
	m.Flags = r.Int32()
}

// Append writes the record.
func (m *CreateRequest) Append(b []byte) []byte {
	b = AppendString(b, m.Path)
	b = AppendBytes(b, m.Data)
	b = AppendACLs(b, m.ACL)
	return AppendInt32(b, m.Flags)
}

// CreateTTLRequest is the body of createTTL.
type CreateTTLRequest struct {
	CreateRequest
	// TTL is in milliseconds.
	TTL int64
}

// Decode reads the record.
func (m *CreateTTLRequest) Decode(r *Reader) {
	m.CreateRequest.Decode(r)
	m.TTL = r.Int64()
}

// Append writes the record.
func (m *CreateTTLRequest) Append(b []byte) []byte {
	return AppendInt64(m.CreateRequest.Append(b), m.TTL)
}

// PathVersionRequest is the body of delete and check: a path and the version that the node is
// expected to have.
type PathVersionRequest struct {
	Path    string
	Version int32
}

// Decode reads the record.
func (m *PathVersionRequest) Decode(r *Reader) {
	m.Path = r.String()
	m.Version = r.Int32()
}

// Append writes the record.
func (m *PathVersionRequest) Append(b []byte) []byte {
	return AppendInt32(AppendString(b, m.Path), m.Version)
}

// PathWatchRequest is the body of exists, getData, getChildren and getChildren2: a path and
// whether to set a watch.
type PathWatchRequest struct {
	Path  string
	Watch bool
}

// Decode reads the record.
func (m *PathWatchRequest) Decode(r *Reader) {
	m.Path = r.String()
	m.Watch = r.Bool()
}

// Append writes the record.
func (m *PathWatchRequest) Append(b []byte) []byte {
	return AppendBool(AppendString(b, m.Path), m.Watch)
}

// PathRequest is the body of getACL, sync, getEphemerals and getAllChildrenNumber.
type PathRequest struct {
	Path string
}

// Decode reads the record.
func (m *PathRequest) Decode(r *Reader) { m.Path = r.String() }

// Append writes the record.
func (m *PathRequest) Append(b []byte) []byte { return AppendString(b, m.Path) }

// SetDataRequest is the body of setData.
type SetDataRequest struct {
	Path string
	// Data is a part of the message; nil is null.
	Data    []byte
	Version int32
}

// Decode reads the record.
func (m *SetDataRequest) Decode(r *Reader) {
	m.Path = r.String()
	m.Data = r.Bytes()
	m.Version = r.Int32()
}

// Append writes the record.
func (m *SetDataRequest) Append(b []byte) []byte {
	return AppendInt32(AppendBytes(AppendString(b, m.Path), m.Data), m.Version)
}

// SetACLRequest is the body of setACL.
type SetACLRequest struct {
	Path    string
	ACL     []ACL
	Version int32
}

// Decode reads the record.
func (m *SetACLRequest) Decode(r *Reader) {
	m.Path = r.String()
	m.ACL = decodeACLs(r)
	m.Version = r.Int32()
}

// Append writes the record.
func (m *SetACLRequest) Append(b []byte) []byte {
	return AppendInt32(AppendACLs(AppendString(b, m.Path), m.ACL), m.Version)
}

// MultiHeader stands in front of each operation of a multi or multiRead, of each element of the
// response, and at the end of both.
type MultiHeader struct {
	Type OpCode
	Done bool
	Err  ErrorCode
}

// MultiEnd returns the header that ends a multi request or response.
func MultiEnd() MultiHeader { return MultiHeader{Type: OpError, Done: true, Err: -1} }

// Decode reads the record.
func (m *MultiHeader) Decode(r *Reader) {
	m.Type = OpCode(r.Int32())
	m.Done = r.Bool()
	m.Err = ErrorCode(r.Int32())
}

// Append writes the record.
func (m *MultiHeader) Append(b []byte) []byte {
	return AppendInt32(AppendBool(AppendInt32(b, int32(m.Type)), m.Done), int32(m.Err))
}

// SetWatches is the body of setWatches and setWatches2: the watches that a client had when it
// lost its connection.
type SetWatches struct {
	// RelativeZxid is the last zxid that the client has seen.
	RelativeZxid       int64
	Data, Exist, Child []string
	// Persistent and PersistentRecursive stand only in setWatches2.
	Persistent, PersistentRecursive []string
}

// Decode reads the body of op, setWatches or setWatches2.
func (m *SetWatches) Decode(r *Reader, op OpCode) {
	m.RelativeZxid = r.Int64()
	m.Data = r.Strings()
	m.Exist = r.Strings()
	m.Child = r.Strings()
	if op == OpSetWatches2 {
		m.Persistent = r.Strings()
		m.PersistentRecursive = r.Strings()
	}
}

// Append writes the body of op, setWatches or setWatches2.
func (m *SetWatches) Append(b []byte, op OpCode) []byte {
	b = AppendInt64(b, m.RelativeZxid)
	b = AppendStrings(b, m.Data)
	b = AppendStrings(b, m.Exist)
	b = AppendStrings(b, m.Child)
	if op == OpSetWatches2 {
		b = AppendStrings(b, m.Persistent)
		b = AppendStrings(b, m.PersistentRecursive)
	}
	return b
}

// WatchRequest is the body of addWatch, whose Kind is a mode (0 persistent, 1 recursive), and of
// checkWatches and removeWatches, whose Kind is a watcher type (1 to 5).
type WatchRequest struct {
	Path string
	Kind int32
}

// Decode reads the record.
func (m *WatchRequest) Decode(r *Reader) {
	m.Path = r.String()
	m.Kind = r.Int32()
}

// Append writes the record.
func (m *WatchRequest) Append(b []byte) []byte { return AppendInt32(AppendString(b, m.Path), m.Kind) }
