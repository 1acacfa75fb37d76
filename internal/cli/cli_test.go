package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/okapi-kv/okapi/internal/config"
)

// call runs Main with a ServeFunc and returns status, output and errors.
func call(serve ServeFunc, args ...string) (int, string, string) {
	var out, errs bytes.Buffer
	status := Main(args, &out, &errs, Program{Version: "1.2.3", Serve: serve})
	return status, out.String(), errs.String()
}

func never(context.Context, config.Config, *slog.Logger, io.Writer) error {
	return errors.New("the member was started")
}

func TestServeGetsTheConfiguration(t *testing.T) {
	t.Setenv("OKAPI_DATA_DIR", "from-env")
	var got config.Config
	serve := func(_ context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
		got = cfg
		log.Info("hidden")
		log.Error("shown")
		_, err := io.WriteString(out, "connect here\n")
		return err
	}
	status, out, errs := call(serve, "serve", "--name", "n1", "--log-level=error", "--listen-zookeeper=")
	if status != 0 || out != "connect here\n" || strings.Contains(errs, "hidden") || !strings.Contains(errs, "msg=shown") {
		t.Errorf("status %d, out %q, errs %q", status, out, errs)
	}
	if got.Name != "n1" || got.DataDir != "from-env" || len(got.ListenZooKeeper) != 0 {
		t.Errorf("the member got\n%s", got.String())
	}
}

func TestProblemsAreOneLineEach(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"serve --log-level=loud", []string{`okapi: --log-level: "loud": want one of debug, info, warn, error`}},
		{"serve --data-dir= --max-txn-ops=0", []string{"okapi: --data-dir: is empty", "okapi: --max-txn-ops: 0: want"}},
		{"serve --nmae=x", []string{"okapi: unknown flag: --nmae: see okapi serve --help"}},
		{"serve --name", []string{"okapi: flag needs an argument: --name: see okapi serve --help"}},
		{"serve now", []string{`okapi: okapi serve takes no arguments, but got "now"`}},
		{"srve", []string{`okapi: unknown command "srve" for "okapi"`}},
		{"serve", []string{"okapi: the member was started"}},
	} {
		status, out, errs := call(never, strings.Fields(c.args)...)
		lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
		if status != 1 || out != "" || len(lines) != len(c.want) {
			t.Errorf("okapi %s: status %d, out %q, errs %q", c.args, status, out, errs)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("okapi %s: line %q, want %q", c.args, lines[i], want)
			}
		}
	}
}

func TestSignalsStopTheMember(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		serve := func(ctx context.Context, _ config.Config, _ *slog.Logger, _ io.Writer) error {
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		if status, _, errs := call(serve, "serve"); status != 0 || errs != "" {
			t.Errorf("%v: status %d, errs %q", sig, status, errs)
		}
	}
}

// A member that cannot drain has failed, even if it was told to stop.
func TestFailureWhileStopping(t *testing.T) {
	serve := func(ctx context.Context, _ config.Config, _ *slog.Logger, _ io.Writer) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		<-ctx.Done()
		return errors.New("sync log: no space")
	}
	if status, _, errs := call(serve, "serve"); status != 1 || errs != "okapi: sync log: no space\n" {
		t.Errorf("status %d, errs %q", status, errs)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help"}} {
		status, out, errs := call(never, args...)
		if status != 0 || errs != "" || !strings.Contains(out, "serve ") || !strings.Contains(out, "version ") {
			t.Errorf("okapi %v: status %d, out %q, errs %q", args, status, out, errs)
		}
	}
	_, out, _ := call(never, "serve", "--help")
	standard := config.Default()
	for _, s := range standard.Settings() {
		if !strings.Contains(out, "--"+s.Flag+" ") {
			t.Errorf("help of serve has no --%s", s.Flag)
		}
	}
}

func TestVersion(t *testing.T) {
	status, out, _ := call(never, "version")
	if status != 0 || !strings.HasPrefix(out, "okapi 1.2.3\n") || !strings.HasSuffix(out, "ZooKeeper 3.9 / etcd 3.7 compatible\n") {
		t.Errorf("status %d, out %q", status, out)
	}
	var b bytes.Buffer
	build := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	if err := printVersion(&b, "1.2.3", build); err != nil {
		t.Fatal(err)
	}
	if want := "okapi 1.2.3\nrevision abc with changes\nfeature level 1\n"; !strings.HasPrefix(b.String(), want) {
		t.Errorf("printed %q, want %q first", b.String(), want)
	}
}
