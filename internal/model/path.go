package model

import (
	"strings"
	"unicode/utf8"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// validPath says whether ZooKeeper takes a path (org.apache.zookeeper.common.PathUtils). Characters
// beyond the basic plane are surrogates there, and all of those are forbidden; bytes that are no UTF-8
// arrive there as U+FFFD, which is forbidden too.
func validPath(path string) bool {
	if path == "/" {
		return true
	}
	if !strings.HasPrefix(path, "/") || !utf8.ValidString(path) {
		return false
	}
	for _, part := range strings.Split(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for _, r := range part {
			if r <= 0x1f || r >= 0x7f && r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0 {
				return false
			}
		}
	}
	return true
}

// cut returns the parent of a path and whether the path has a slash and no NUL, which is all that
// ZooKeeper checks before it looks for the parent.
func cut(path string) (parent string, ok bool) {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || strings.IndexByte(path, 0) >= 0 {
		return "", false
	}
	return canonical(path[:slash]), true
}

// canonical is the path under which the model keeps a node: ZooKeeper knows its root by "" too.
func canonical(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// parentOf returns the parent of a valid path that is not the root.
func parentOf(path string) string {
	return canonical(path[:strings.LastIndexByte(path, '/')])
}

// special says whether a node can never be deleted (org.apache.zookeeper.server.ZKDatabase, isSpecialPath).
func special(path string) bool {
	return path == "/" || path == "/zookeeper" || path == "/zookeeper/quota" || path == "/zookeeper/config"
}

// hasKey says whether a znode is a key: all are but the root and ZooKeeper's own.
func (m *Model) hasKey(path string) bool {
	return m.settings.TreePrefix != "" && path != "/" && !reserved(path)
}

func reserved(path string) bool {
	return path == "/zookeeper" || strings.HasPrefix(path, "/zookeeper/")
}

// isTreeKey says whether a key lies under the mount point.
func (m *Model) isTreeKey(k string) bool {
	return m.settings.TreePrefix != "" && strings.HasPrefix(k, m.settings.TreePrefix)
}

// isTreeRange says whether a range sees the tree: if it lies wholly under the mount point.
func (m *Model) isTreeRange(k, end string) bool {
	if !m.isTreeKey(k) {
		return false
	}
	return end == "" || end != "\x00" && end <= prefixEnd(m.settings.TreePrefix)
}

// prefixEnd is the first string behind all that begin with a prefix, none of whose bytes is 0xff.
func prefixEnd(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(prefix[last]+1)
}

// inRange says whether a key is in an etcd range.
func inRange(k, from, end string) bool {
	switch end {
	case "":
		return k == from
	case "\x00":
		return k >= from
	default:
		return k >= from && k < end
	}
}

// writablePath returns the path of a tree key that an etcd client may write, or why it may not.
func (m *Model) writablePath(k string) (string, state.Code) {
	path := strings.TrimPrefix(k, m.settings.TreePrefix)
	if !validPath(path) {
		return "", state.InvalidPath
	}
	if !m.hasKey(path) {
		return "", state.TreeConflict
	}
	return path, state.OK
}
