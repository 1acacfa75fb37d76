package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/okapi-kv/okapi/internal/cluster"
)

// Compatible names the versions of the two protocols whose behaviour holds where versions differ.
const Compatible = "ZooKeeper 3.9 / etcd 3.7 compatible"

func versionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			build, ok := debug.ReadBuildInfo()
			if !ok {
				build = &debug.BuildInfo{}
			}
			return printVersion(cmd.OutOrStdout(), version, build)
		},
	}
}

// printVersion prints the release, what is known of the build, and the highest feature level that it understands; the go command
// records the revision if it built from a repository.
func printVersion(out io.Writer, version string, build *debug.BuildInfo) error {
	setting := map[string]string{}
	for _, s := range build.Settings {
		setting[s.Key] = s.Value
	}
	text := "okapi " + version + "\n"
	if revision := setting["vcs.revision"]; revision != "" {
		text += "revision " + revision
		if setting["vcs.modified"] == "true" {
			text += " with changes"
		}
		text += "\n"
	}
	text += fmt.Sprintf("feature level %d\n%s %s/%s\n%s\n", cluster.FeatureNewest, runtime.Version(), runtime.GOOS, runtime.GOARCH, Compatible)
	_, err := io.WriteString(out, text)
	return err
}
