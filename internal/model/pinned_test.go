package model

import (
	"fmt"
	"math/rand/v2"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// pinned is a view that is kept, and what it showed when it was new.
type pinned struct {
	view  state.View
	shown []string
}

// show writes down all that a view shows of keys and znodes.
func show(v state.View) []string {
	root := command.Caller{Protocol: command.Internal}
	index, term := v.Index()
	out := []string{fmt.Sprint(v.Revision(), v.Zxid(), v.Seq(), index, term, v.Time())}
	ranges := []command.Range{{Key: "\x00", End: "\x00"}}
	if s, ok := v.Settings(); ok && s.TreePrefix != "" {
		ranges = append(ranges, command.Range{Key: s.TreePrefix, End: prefixEnd(s.TreePrefix)})
	}
	for i := range ranges {
		var res state.RangeResult
		code := v.Range(&root, &ranges[i], &res)
		out = append(out, fmt.Sprintf("%+v %v", res, code))
	}
	paths := []string{"/"}
	for len(paths) > 0 {
		path := paths[0]
		paths = paths[1:]
		data, st, code := v.Data(&root, path)
		acl, _, _ := v.ACL(&root, path)
		names, _, _ := v.Children(&root, path)
		out = append(out, fmt.Sprintf("%s %q %v %+v %v %v %v", path, data, data == nil, st, code, acl, names))
		if path == "/" {
			path = ""
		}
		for _, name := range names {
			paths = append(paths, path+"/"+name)
		}
	}
	return out
}

// compareOldView looks at a view that was kept, keeps another now and then, and lets the machine free what no view
// needs, which must change nothing.
func (p *player) compareOldView(r *rand.Rand) string {
	v := p.machine.View()
	if old := p.pinned; old != nil && r.IntN(4) == 0 {
		if diff := differ(old.shown, show(old.view)); diff != "" {
			return "a view that was kept has changed: -before +now\n" + diff
		}
		p.pinned = nil
	}
	if p.pinned == nil && r.IntN(4) == 0 {
		p.pinned = &pinned{v, show(v)}
	}
	oldest := v.Seq()
	if p.pinned != nil {
		oldest = p.pinned.view.Seq()
	}
	digest := p.machine.Digest()
	p.machine.Reclaim(r.IntN(200), oldest)
	if p.machine.Digest() != digest {
		return "reclaiming changed the digest"
	}
	return ""
}
