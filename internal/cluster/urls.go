package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var (
	errNoURL        = errors.New("expected at least one URL")
	errBadURL       = errors.New("bad URL")
	errDuplicateURL = errors.New("duplicate URL")
)

// ParseURLs takes a comma-separated list of URLs as the --listen-*-urls and --*advertise-*-urls
// flags hold it, and gives them sorted, with scheme and host in lower case. Each must have the
// form http://host:port or https://host:port and nothing behind it.
func ParseURLs(list string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return nil, errNoURL
	}
	var urls []string
	for item := range strings.SplitSeq(list, ",") {
		u, err := parseURL(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		urls = append(urls, u)
	}
	slices.Sort(urls)
	for i := 1; i < len(urls); i++ {
		if urls[i] == urls[i-1] {
			return nil, fmt.Errorf("%w: %s", errDuplicateURL, urls[i])
		}
	}
	return urls, nil
}

func parseURL(text string) (string, error) {
	bad := func(rule string) (string, error) {
		return "", fmt.Errorf("%w %q: %s", errBadURL, text, rule)
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return bad("write http://host:port or https://host:port")
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil || host == "" || port == "" {
		return bad(`the address does not have the form "host:port"`)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return bad("the port is not a number from 1 to 65535")
	}
	if u.Path != "" {
		return bad("it must not contain a path, not even a slash")
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return bad("nothing but the scheme, host and port is allowed")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}
