// Command sluice is the proxy: it reads an Envoy v3 configuration and serves it on event loops.
//
// main.go dispatches, flags.go holds the command line, help.go its description, serve.go runs a
// configuration, and each subcommand has a file of its own. What can go wrong is printed as one line on standard error and
// ends with exit code 1.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main without the process around it: it returns the exit code.
func run(args []string) int {
	var c commands
	code := -1
	parser, err := kong.New(&c,
		kong.Name("sluice"),
		kong.Description(description),
		kong.ExplicitGroups(flagGroups),
		kong.Help(printHelp),
		kong.Exit(func(n int) { code = n }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.Vars{"version": versionString()},
	)
	if err != nil {
		return fail(err)
	}
	ctx, err := parser.Parse(args)
	if code >= 0 {
		return code // help or version was printed
	}
	if err != nil {
		return fail(err)
	}
	if err := ctx.Run(); err != nil {
		return fail(err)
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "sluice: %v\n", err)
	return 1
}
