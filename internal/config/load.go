package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// Inputs is where Load reads from.
type Inputs struct {
	// Flags holds the flags that were given, by name without dashes.
	Flags map[string]string
	// LookupEnv reads one name of the environment, as os.LookupEnv does.
	LookupEnv func(name string) (string, bool)
	// ReadFile reads the configuration file, as os.ReadFile does.
	ReadFile func(name string) ([]byte, error)
}

// Problems is everything that is wrong with a configuration, one line each.
type Problems []string

// Error returns the problems, one a line.
func (p Problems) Error() string { return strings.Join(p, "\n") }

// Load resolves every setting (a flag is stronger than the environment, the environment than the
// file, the file than the default) and validates the result. Its error is Problems.
func Load(in Inputs) (Config, error) {
	c := Default()
	c.sources = map[string]Source{}
	c.AdvertiseClientURLs, c.InitialAdvertisePeerURLs, c.InitialCluster = nil, nil, nil

	file, problems := readFile(in)
	unread := map[string]bool{}
	for _, r := range c.rows() {
		raw, source := lookup(in, file, r.flag)
		if source == FromDefault {
			continue
		}
		if err := r.value.parse(raw); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %q: %v", origin(r.flag, source), raw, err))
			unread[r.flag] = true
			continue
		}
		c.sources[r.flag] = source
	}
	c.derive()
	if problems = append(problems, c.validate(unread)...); len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

// lookup finds the strongest source that has the setting.
func lookup(in Inputs, file map[string]string, flag string) (string, Source) {
	if raw, ok := in.Flags[flag]; ok {
		return raw, FromFlag
	}
	if raw, ok := in.LookupEnv(envName(flag)); ok {
		return raw, FromEnv
	}
	if raw, ok := file[flag]; ok {
		return raw, FromFile
	}
	return "", FromDefault
}

// origin names a setting the way the operator wrote it.
func origin(flag string, source Source) string {
	switch source {
	case FromEnv:
		return envName(flag)
	case FromFile:
		return flag + " in the configuration file"
	default:
		return "--" + flag
	}
}

// readFile reads the configuration file, if one is named, into text by flag.
func readFile(in Inputs) (map[string]string, Problems) {
	const flag = "config-file"
	name, source := lookup(in, nil, flag)
	if name == "" {
		return nil, nil
	}
	content, err := in.ReadFile(name)
	if err != nil {
		return nil, Problems{fmt.Sprintf("%s: %v: name a file that this user can read", origin(flag, source), err)}
	}
	var raw map[string]json.RawMessage
	if err := yaml.UnmarshalStrict(content, &raw); err != nil {
		return nil, Problems{fmt.Sprintf("%s: %s is not a list of \"setting: value\" in YAML: %s", origin(flag, source), name, oneLine(err))}
	}
	var c Config
	known := map[string]bool{}
	for _, r := range c.rows() {
		known[r.flag] = r.flag != flag
	}
	out, problems := map[string]string{}, Problems(nil)
	keys := make([]string, 0, len(raw))
	for key := range raw {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		if !known[key] {
			problems = append(problems, fmt.Sprintf("%s: unknown setting %q: remove it or correct its name%s", name, key, suggestion(key, known)))
			continue
		}
		text, err := fileValue(raw[key])
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s: %v", name, key, err))
			continue
		}
		out[key] = text
	}
	return out, problems
}

// fileValue turns a value of the file into the text that a flag would have: a text or number as
// it stands, a list joined by commas.
func fileValue(raw json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		return text, nil
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil && number != "" {
		return number.String(), nil
	}
	var elements []string
	if json.Unmarshal(raw, &elements) == nil && elements != nil {
		return strings.Join(elements, ","), nil
	}
	return "", fmt.Errorf("want a text, a number or a list of texts, not %s", raw)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// suggestion names a setting that the operator may have meant, or nothing.
func suggestion(key string, known map[string]bool) string {
	var near []string
	for name, ok := range known {
		if ok && distance(strings.ToLower(strings.ReplaceAll(key, "_", "-")), name) <= 2 {
			near = append(near, name)
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.Sort(near)
	return fmt.Sprintf(" (perhaps %s)", near[0])
}

// distance is the number of letters to insert, delete or replace to get from a to b.
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current := make([]int, len(b)+1)
		current[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j]+cost, previous[j+1]+1, current[j]+1)
		}
		previous = current
	}
	return previous[len(b)]
}
