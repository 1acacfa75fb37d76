package state

import (
	"strings"
	"unicode/utf8"
)

// The znodes that are always there: ZooKeeper refuses to delete them
// (org.apache.zookeeper.server.DataTree.isSpecialPath).
const (
	rootPath   = "/"
	systemPath = "/zookeeper"
	quotaPath  = "/zookeeper/quota"
	configPath = "/zookeeper/config"
)

// isSpecial says whether path is one of the znodes that cannot be deleted.
func isSpecial(path string) bool {
	return path == rootPath || path == systemPath || path == quotaPath || path == configPath
}

// parentOf returns the path of the parent of the node at path, which is valid and not the root.
func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return rootPath
}

// nameOf returns the last part of a valid path; it is empty for the root.
func nameOf(path string) string {
	return path[strings.LastIndexByte(path, '/')+1:]
}

// validPath returns why path is no valid path of a znode, in words for the client; it returns the
// empty string for a valid one. The rules are those of ZooKeeper's PathUtils.validatePath: every
// path that it takes is valid here and no other. ZooKeeper looks at UTF-16 code units, so a
// character outside the basic plane is refused for its surrogates; bytes that are not UTF-8 are refused because
// ZooKeeper's decoder turns them into U+FFFD, which is refused.
func validPath(path string) (reason string) {
	switch {
	case path == "":
		return "path is empty"
	case path[0] != '/':
		return "path does not start with /"
	case len(path) == 1:
		return ""
	case path[len(path)-1] == '/':
		return "path ends with /"
	}
	start := 1 // of the part being read
	for i := 1; i < len(path); {
		c := path[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(path[i:])
			if r == utf8.RuneError && size == 1 {
				return "path is not UTF-8"
			}
			if forbiddenRune(r) {
				return "path has a forbidden character"
			}
			i += size
			continue
		}
		if c == '/' {
			if reason = validPart(path[start:i]); reason != "" {
				return reason
			}
			start = i + 1
		} else if c < 0x20 || c == 0x7f {
			return "path has a control character"
		}
		i++
	}
	return validPart(path[start:])
}

// validPart returns why a part of a path between two slashes is not allowed, or the empty string.
func validPart(part string) (reason string) {
	switch part {
	case "":
		return "path has an empty part"
	case ".", "..":
		return "path is relative"
	}
	return ""
}

// forbiddenRune says whether a character above U+007F must not stand in a path.
func forbiddenRune(r rune) bool {
	return r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0
}
