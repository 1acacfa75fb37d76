// Package telemetry sets up what operators see of a running member: its log. Loggers are
// made here once, by the composition, and handed down; no package has one of its own.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Levels lists the names that ParseLevel knows, from the most to the least talkative.
const Levels = "debug, info, warn, error"

// ParseLevel turns the name of a level into the level. At info an operator may want to act on
// a line, at debug a developer may want to look at it; single requests are never logged above
// debug.
func ParseLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("unknown log level %q (one of %s)", name, Levels)
}

// NewLogger returns a logger that writes one line of key=value pairs for each record at level
// or above to w. Its times are UTC with milliseconds, so that the logs of members in different
// places can be laid side by side. Writes to w are serialised.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: normalise}))
}

// timeFormat is RFC 3339 with exactly three digits of the second, so that columns line up.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// normalise gives times and levels one form; attributes in groups are left alone.
func normalise(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("ts", a.Value.Time().UTC().Format(timeFormat))
	case slog.LevelKey:
		return slog.String("level", strings.ToLower(a.Value.String()))
	}
	return a
}
