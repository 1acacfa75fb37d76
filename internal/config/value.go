package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// value is one field of a Config, read from and written as text. Parse and String fit together:
// what String returns, parse accepts as the same value, unless the value is a secret.
type value interface {
	// parse sets the field; its error says what is wanted and does not repeat the text.
	parse(text string) error
	// kind says how the value is written.
	kind() string
	String() string
}

type text struct{ to *string }

func (v text) parse(s string) error { *v.to = s; return nil }
func (v text) kind() string         { return "text" }
func (v text) String() string       { return *v.to }

// secret is a text that is not shown.
type secret struct{ to *string }

func (v secret) parse(s string) error { *v.to = s; return nil }
func (v secret) kind() string         { return "text" }

// String hides what is set. It is the one value that cannot be read back.
func (v secret) String() string {
	if *v.to == "" {
		return ""
	}
	return "(hidden)"
}

type number struct {
	to   *int64
	unit string
}

func (v number) parse(s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("want a whole number of %s", v.unit)
	}
	*v.to = n
	return nil
}

func (v number) kind() string   { return v.unit }
func (v number) String() string { return strconv.FormatInt(*v.to, 10) }

// size is a number of bytes, with an optional unit.
type size struct{ to *int64 }

// sizeUnits are the units of sizes, the largest first; each is a multiple of the next.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (v size) parse(s string) error {
	digits, unit := s, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return fmt.Errorf("want a number of bytes, such as 1048576, 512KiB, 64MiB or 2GiB")
	}
	*v.to = n * unit
	return nil
}

func (v size) kind() string { return "bytes" }

func (v size) String() string {
	for _, u := range sizeUnits {
		if n := *v.to; n > 0 && u.bytes > 1 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(*v.to, 10)
}

type duration struct{ to *time.Duration }

func (v duration) parse(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("want a duration, such as 90s, 10m or 1h30m")
	}
	*v.to = d
	return nil
}

func (v duration) kind() string   { return "duration" }
func (v duration) String() string { return v.to.String() }

// list is a comma-separated list; what names its elements.
type list struct {
	to   *[]string
	what string
}

func (v list) parse(s string) error {
	parts, err := split(s)
	if err != nil {
		return fmt.Errorf("want %s separated by commas", v.what)
	}
	*v.to = parts
	return nil
}

func (v list) kind() string   { return v.what }
func (v list) String() string { return strings.Join(*v.to, ",") }

// split cuts at commas and trims blanks; no text is no elements, but an empty element is an error.
func split(s string) ([]string, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
		if parts[i] == "" {
			return nil, fmt.Errorf("empty element %d", i+1)
		}
	}
	return parts, nil
}

// members is etcd's form of a cluster: name=URL, separated by commas.
type members struct{ to *[]Member }

func (v members) parse(s string) error {
	parts, err := split(s)
	if err != nil {
		return errMembers
	}
	var out []Member
	index := map[string]int{}
	for _, part := range parts {
		name, url, ok := strings.Cut(part, "=")
		if !ok || name == "" || url == "" {
			return errMembers
		}
		i, known := index[name]
		if !known {
			i = len(out)
			index[name] = i
			out = append(out, Member{Name: name})
		}
		out[i].PeerURLs = append(out[i].PeerURLs, url)
	}
	*v.to = out
	return nil
}

var errMembers = fmt.Errorf("want name=URL separated by commas, such as n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380")

func (v members) kind() string { return "members" }

func (v members) String() string {
	var parts []string
	for _, m := range *v.to {
		for _, url := range m.PeerURLs {
			parts = append(parts, m.Name+"="+url)
		}
	}
	return strings.Join(parts, ",")
}
