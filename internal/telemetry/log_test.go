package telemetry

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

func TestLoggerWritesOneLineInUTC(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, slog.LevelInfo)
	log.Debug("not this one")
	log.Warn("disk is slow", "ms", 12, slog.Group("disk", "level", "HIGH"))
	want := regexp.MustCompile(`^ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=warn msg="disk is slow" ms=12 disk\.level=HIGH\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("logged %q, want a match of %v", out.String(), want)
	}
}

func TestParseLevel(t *testing.T) {
	for _, name := range strings.Split(Levels, ", ") {
		level, err := ParseLevel(name)
		if err != nil || strings.ToLower(level.String()) != name {
			t.Errorf("ParseLevel(%q) = %v, %v", name, level, err)
		}
	}
	for _, name := range []string{"", "INFO", "trace"} {
		if _, err := ParseLevel(name); err == nil {
			t.Errorf("ParseLevel(%q) succeeded", name)
		}
	}
}
