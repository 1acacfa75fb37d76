package model

// recordBytes is what a version of a key or znode counts beside its key and data, as in etcd
// (server/storage/quota.go).
const recordBytes = 256

// plainBytes is the logical size of the plain keys as they are now.
func (m *Model) plainBytes() int64 {
	var sum int64
	for k, v := range m.keys.live {
		sum += recordBytes + int64(len(k)+len(v.value))
	}
	return sum
}

// treeBytes is the logical size of the znodes as they are now.
func (m *Model) treeBytes() int64 {
	var sum int64
	for path, n := range m.nodes.live {
		sum += recordBytes + int64(len(path)+len(n.data))
	}
	return sum
}
