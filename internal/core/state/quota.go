package state

import (
	"slices"
	"strconv"
	"strings"
)

// Quotas are ZooKeeper's (org.apache.zookeeper.Quotas, StatsTrack). The node
// /zookeeper/quota/a/zookeeper_limits limits the subtree of /a; its sibling zookeeper_stats says what the
// subtree holds, the node /a itself included. Both are ordinary nodes that clients create and read; the data of the second
// is kept up to date here, with a new version of the node in the store but no change of its Stat and
// no event. Only the deepest limit at or above a node counts, both for keeping and for checking.
const (
	limitsName = "zookeeper_limits"
	statsName  = "zookeeper_stats"
)

// Names of fields in the data of both nodes.
const (
	quotaCount     = "count"
	quotaBytes     = "bytes"
	quotaCountHard = "countHardLimit"
	quotaBytesHard = "byteHardLimit"
)

// quotaField is one name=value in the data of a quota node.
type quotaField struct {
	name  string
	value int64
}

// quotaFields is the data of a quota node.
type quotaFields []quotaField

// parseQuota reads fields that are separated by ',' or ';'. Fields that make no sense are left
// out, which is to say unset.
func parseQuota(data []byte) quotaFields {
	var f quotaFields
	for _, pair := range strings.FieldsFunc(string(data), func(r rune) bool { return r == ',' || r == ';' }) {
		name, rest, _ := strings.Cut(pair, "=")
		number, _, _ := strings.Cut(rest, "=") // "bytes=5=" has its second = for the sake of old readers
		if v, err := strconv.ParseInt(number, 10, 64); err == nil {
			f.set(name, v)
		}
	}
	return f
}

// get returns the value of a field; -1 means unset, which is a value too.
func (f quotaFields) get(name string) int64 {
	for i := range f {
		if f[i].name == name {
			return f[i].value
		}
	}
	return -1
}

// set changes or adds a field.
func (f *quotaFields) set(name string, value int64) {
	for i := range *f {
		if (*f)[i].name == name {
			(*f)[i].value = value
			return
		}
	}
	*f = append(*f, quotaField{name, value})
}

// format writes the fields as ZooKeeper does: count and bytes first, for old readers, and an
// extra '=' before the others that makes those readers stop.
func (f quotaFields) format() []byte {
	b := append([]byte(quotaCount), '=')
	b = strconv.AppendInt(b, f.get(quotaCount), 10)
	b = append(b, ","+quotaBytes+"="...)
	b = strconv.AppendInt(b, f.get(quotaBytes), 10)
	others := slices.DeleteFunc(slices.Clone(f), func(x quotaField) bool {
		return x.name == quotaCount || x.name == quotaBytes
	})
	slices.SortFunc(others, func(x, y quotaField) int { return strings.Compare(x.name, y.name) })
	if len(others) > 0 {
		b = append(b, '=')
	}
	for _, x := range others {
		b = append(b, ";"+x.name+"="...)
		b = strconv.AppendInt(b, x.value, 10)
	}
	return b
}

// quotaOf returns the deepest node at or above path that has a limit, or the empty string. The root has none.
func (m *Machine) quotaOf(path string) string {
	if m.node(quotaPath).children == 0 {
		return "" // nearly always
	}
	for p := path; p != rootPath; p = parentOf(p) {
		if m.node(quotaPath+p+"/"+limitsName) != nil {
			return p
		}
	}
	return ""
}

// mayGrow says whether a node may be created (old is nil) or set to data: QuotaExceeded if the tree as a
// whole is full, or because of a hard limit, if those are enforced.
func (m *Machine) mayGrow(path string, data []byte, old *znode) Code {
	if code := m.treeRoom(len(path) + len(data)); code != OK || !m.settings.EnforceQuota {
		return code
	}
	size, nodes := int64(len(data)), int64(1)
	if old != nil {
		size, nodes = size-int64(len(old.data)), 0
	}
	if m.overHardLimit(path, size, nodes) {
		return QuotaExceeded
	}
	return OK
}

// overHardLimit says whether size more bytes of data and nodes more nodes at path are too many. It checks
// as ZooKeeperServer.checkQuota does: a figure that does not change is not checked, but one that
// shrinks is, so that shorter data is still refused while the whole stays above the limit.
func (m *Machine) overHardLimit(path string, size, nodes int64) bool {
	q := m.quotaOf(path)
	if q == "" {
		return false
	}
	stats := m.node(quotaPath + q + "/" + statsName)
	if stats == nil {
		return false
	}
	limits := parseQuota(m.node(quotaPath + q + "/" + limitsName).data)
	used := parseQuota(stats.data)
	over := func(limit string, used, change int64) bool {
		hard := limits.get(limit)
		return change != 0 && hard > -1 && used+change > hard
	}
	return over(quotaCountHard, used.get(quotaCount), nodes) || over(quotaBytesHard, used.get(quotaBytes), size)
}

// chargeQuota adds to the statistics of the quota that path falls under, if any.
func (m *Machine) chargeQuota(path string, size, nodes int64) {
	if size == 0 && nodes == 0 {
		return
	}
	q := m.quotaOf(path)
	if q == "" {
		return
	}
	stats := m.node(quotaPath + q + "/" + statsName)
	if stats == nil {
		return // the limit was set by hand and has no statistics yet
	}
	f := parseQuota(stats.data)
	f.set(quotaCount, f.get(quotaCount)+nodes)
	f.set(quotaBytes, f.get(quotaBytes)+size)
	m.rewriteStats(quotaPath+q+"/"+statsName, f)
}

// quotaNodeCreated fills in new statistics by counting the subtree they are about.
func (m *Machine) quotaNodeCreated(path string) {
	if !strings.HasPrefix(path, quotaPath+"/") || nameOf(path) != statsName {
		return
	}
	subject := parentOf(path)[len(quotaPath):]
	if subject == "" {
		subject = rootPath
	}
	var nodes, size int64
	if z := m.node(subject); z != nil {
		nodes, size = 1, int64(len(z.data))
		m.walkBelow(subject, m.seq, func(_ string, z *znode) bool {
			nodes++
			size += int64(len(z.data))
			return true
		}, m.yield)
	}
	m.rewriteStats(path, quotaFields{{quotaCount, nodes}, {quotaBytes, size}})
}

// rewriteStats replaces the data of a node of statistics in place.
func (m *Machine) rewriteStats(path string, f quotaFields) {
	z := *m.node(path)
	z.data = f.format()
	m.putNode(path, z, false)
}
