package mvcc

// keyset leads from a key to its newest version, by the key itself and in the order of keys. The three parts know the same
// keys at any time.
type keyset[R any] struct {
	table table[R]
	heads *heads[R]
	index index
}

func newKeyset[R any](seed uint64) keyset[R] {
	h := &heads[R]{}
	return keyset[R]{table: newTable[R](seed), heads: h, index: index{keys: h.key}}
}

// admit takes a key in that is not there, with its first version.
func (k *keyset[R]) admit(v *Version[R]) {
	k.heads.admit(v)
	k.table.add(v)
	k.index.set(v.key, v.number)
}

// succeed makes v the newest version of its key in the place of old.
func (k *keyset[R]) succeed(old, v *Version[R]) {
	k.table.replace(old, v)
	k.heads.set(v)
}

// forget takes a key out of which v is the newest version.
func (k *keyset[R]) forget(v *Version[R]) {
	k.table.remove(v)
	k.index.remove(v.key, v.number)
	k.heads.release(v.number)
}

// newest tells whether v is the newest version of its key, which is there.
func (k *keyset[R]) newest(v *Version[R]) bool { return k.heads.at(v.number) == v }

// ascend calls fn with the newest version of each key from from on, until it returns false.
func (k *keyset[R]) ascend(from string, fn func(*Version[R]) bool) {
	k.index.ascend(from, func(n keyNumber) bool { return fn(k.heads.at(n)) })
}
