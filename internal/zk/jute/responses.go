package jute

// The bodies of replies. The replies of exists, setData and setACL are a Stat; that of sync is a
// PathRequest; those of delete, check, ping, auth and setWatches are empty.

// CreateResponse is the body of the reply to create.
type CreateResponse struct {
	Path string
}

// Decode reads the record.
func (m *CreateResponse) Decode(r *Reader) { m.Path = r.String() }

// Append writes the record.
func (m *CreateResponse) Append(b []byte) []byte { return AppendString(b, m.Path) }

// Create2Response is the body of the reply to create2, createContainer and createTTL.
type Create2Response struct {
	Path string
	Stat Stat
}

// Decode reads the record.
func (m *Create2Response) Decode(r *Reader) {
	m.Path = r.String()
	m.Stat.Decode(r)
}

// Append writes the record.
func (m *Create2Response) Append(b []byte) []byte { return m.Stat.Append(AppendString(b, m.Path)) }

// GetDataResponse is the body of the reply to getData.
type GetDataResponse struct {
	// Data is nil for null; decoded, it is a part of the message.
	Data []byte
	Stat Stat
}

// Decode reads the record.
func (m *GetDataResponse) Decode(r *Reader) {
	m.Data = r.Bytes()
	m.Stat.Decode(r)
}

// Append writes the record.
func (m *GetDataResponse) Append(b []byte) []byte { return m.Stat.Append(AppendBytes(b, m.Data)) }

// GetACLResponse is the body of the reply to getACL.
type GetACLResponse struct {
	ACL  []ACL
	Stat Stat
}

// Decode reads the record.
func (m *GetACLResponse) Decode(r *Reader) {
	m.ACL = decodeACLs(r)
	m.Stat.Decode(r)
}

// Append writes the record.
func (m *GetACLResponse) Append(b []byte) []byte { return m.Stat.Append(AppendACLs(b, m.ACL)) }

// ChildrenResponse is the body of the reply to getChildren and getEphemerals: a list of names or
// paths.
type ChildrenResponse struct {
	Children []string
}

// Decode reads the record.
func (m *ChildrenResponse) Decode(r *Reader) { m.Children = r.Strings() }

// Append writes the record.
func (m *ChildrenResponse) Append(b []byte) []byte { return AppendStrings(b, m.Children) }

// GetChildren2Response is the body of the reply to getChildren2.
type GetChildren2Response struct {
	Children []string
	Stat     Stat
}

// Decode reads the record.
func (m *GetChildren2Response) Decode(r *Reader) {
	m.Children = r.Strings()
	m.Stat.Decode(r)
}

// Append writes the record.
func (m *GetChildren2Response) Append(b []byte) []byte {
	return m.Stat.Append(AppendStrings(b, m.Children))
}

// ErrorResponse is an element of a failed multi, of a multiRead, and the reply to addWatch.
type ErrorResponse struct {
	Err ErrorCode
}

// Decode reads the record.
func (m *ErrorResponse) Decode(r *Reader) { m.Err = ErrorCode(r.Int32()) }

// Append writes the record.
func (m *ErrorResponse) Append(b []byte) []byte { return AppendInt32(b, int32(m.Err)) }

// CountResponse is the body of the reply to getAllChildrenNumber.
type CountResponse struct {
	Count int32
}

// Decode reads the record.
func (m *CountResponse) Decode(r *Reader) { m.Count = r.Int32() }

// Append writes the record.
func (m *CountResponse) Append(b []byte) []byte { return AppendInt32(b, m.Count) }

// ClientInfo is one identity of a connection in the reply to whoAmI.
type ClientInfo struct {
	Scheme, User string
}

// Decode reads the record.
func (m *ClientInfo) Decode(r *Reader) {
	m.Scheme = r.String()
	m.User = r.String()
}

// Append writes the record.
func (m *ClientInfo) Append(b []byte) []byte { return AppendString(AppendString(b, m.Scheme), m.User) }
