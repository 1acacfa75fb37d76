// Package cli is okapi's command line. It turns arguments, environment and file into a
// config.Config and gives that to the part that does the work; it prints what went wrong as one
// line for each problem, and decides the exit status.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/okapi-kv/okapi/internal/config"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// ServeFunc runs one member until ctx ends, and then drains it. out is for what the person at the
// terminal wants to read, such as how to connect; the log goes elsewhere. It returns nil, or the
// error of ctx, if it was told to stop, and any other error if it could not start or go on.
type ServeFunc func(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error

// Program is what stands behind the command line.
type Program struct {
	// Version is this release, such as 1.2.3.
	Version string
	// Serve runs a member.
	Serve ServeFunc
}

// Main carries out the command line args (without the program's name) and returns the exit
// status: 0, or 1 after any problem. Help and answers go to out, the log and problems to errs.
func Main(args []string, out, errs io.Writer, p Program) int {
	root := rootCommand(p, errs)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	if err := root.Execute(); err != nil {
		for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
			fmt.Fprintf(errs, "okapi: %s\n", line)
		}
		return 1
	}
	return 0
}

func rootCommand(p Program, errs io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "okapi",
		Short: "A coordination server for ZooKeeper and etcd clients",
		Long: "okapi is a coordination server that speaks the ZooKeeper client protocol and the etcd v3 API\n" +
			"over one replicated store.",
		SilenceErrors: true, SilenceUsage: true, DisableSuggestions: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(serveCommand(p.Serve, errs), memberCommand(errs), versionCommand(p.Version))
	return root
}

func serveCommand(serve ServeFunc, errs io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a member",
		Long: "serve runs a member of a cluster until SIGTERM or SIGINT, and then drains it. Without flags it is a\n" +
			"cluster of its own on this machine, with its data in ./okapi.data.\n\n" +
			"Each flag is also read from the environment (--data-dir from OKAPI_DATA_DIR) and from the file\n" +
			"named by --config-file.",
		Args: noArguments,
	}
	addSettings(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(config.Inputs{Flags: given(cmd.Flags()), LookupEnv: os.LookupEnv, ReadFile: os.ReadFile})
		if err != nil {
			return err
		}
		level, err := telemetry.ParseLevel(cfg.LogLevel)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		// A second signal finds the system's own handling again: it ends the process at once.
		context.AfterFunc(ctx, stop)
		err = serve(ctx, cfg, telemetry.NewLogger(errs, level), cmd.OutOrStdout())
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	return cmd
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, but got %q: see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}

// addSettings makes a flag of every setting. The flags hold text: config.Load reads it, so that
// a flag, the environment and the file are judged by one parser.
func addSettings(flags *pflag.FlagSet) {
	flags.SortFlags = false
	standard := config.Default()
	for _, s := range standard.Settings() {
		doc := s.Doc
		if s.DefaultNote != "" {
			doc += " Default: " + s.DefaultNote + "."
			s.Default = ""
		}
		flags.Var(&flagText{text: s.Default, kind: s.Kind}, s.Flag, doc)
	}
}

// given returns the flags that stand on the command line.
func given(flags *pflag.FlagSet) map[string]string {
	out := map[string]string{}
	flags.Visit(func(f *pflag.Flag) { out[f.Name] = f.Value.String() })
	return out
}

// flagText is a flag whose text nobody has judged yet.
type flagText struct{ text, kind string }

// Set implements pflag.Value.
func (t *flagText) Set(text string) error { t.text = text; return nil }

// String implements pflag.Value.
func (t *flagText) String() string { return t.text }

// Type implements pflag.Value; it is shown in the help.
func (t *flagText) Type() string { return t.kind }
