package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

const description = `An event-loop proxy that runs Envoy v3 configurations.`

const usage = `Usage: sluice -c FILE [flags]
       sluice COMMAND [flags]

` + description + `

  sluice run --from :8080 --to 127.0.0.1:9000   proxy without writing a configuration
  sluice -c envoy.yaml                          run a configuration file
  sluice validate envoy.yaml                    check it and exit
  sluice explain -c envoy.yaml GET http://a/b   where that request goes, and why
  sluice diff old.yaml new.yaml                 what a change means

Signals: SIGTERM lets requests finish and exits, a second one or SIGINT exits at once; SIGHUP
re-reads the configuration file, all or nothing; SIGUSR1 re-opens the log files.
`

// printHelp is kong's printer but for the first page: that one shows the flags of the command that
// runs without being named, which are Envoy's.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	if n := ctx.Selected(); n != nil && n.Name != "serve" {
		return kong.DefaultHelpPrinter(o, ctx)
	}
	w := ctx.Stdout
	fmt.Fprint(w, usage)
	fmt.Fprintln(w, "\nCommands ('sluice COMMAND --help' tells more):")
	var flags []*kong.Flag
	for _, n := range ctx.Model.Children {
		if n.Name == "serve" {
			flags = append(n.Flags, ctx.Model.Flags...)
			continue
		}
		printColumns(w, n.Name, n.Help)
	}
	printFlags(w, "Flags:", "", flags)
	for _, g := range flagGroups {
		printFlags(w, g.Title, g.Key, flags)
	}
	return nil
}

func printFlags(w io.Writer, title, group string, flags []*kong.Flag) {
	fmt.Fprintf(w, "\n%s\n", title)
	for _, f := range flags {
		if key := f.Group; (key == nil) != (group == "") || key != nil && key.Key != group {
			continue
		}
		name := "--" + f.Name
		if f.Short != 0 {
			name = "-" + string(f.Short) + ", " + name
		}
		if !f.IsBool() {
			name += " " + strings.Trim(f.FormatPlaceHolder(), `"`)
		}
		printColumns(w, name, f.Help)
	}
}

const (
	helpIndent = 34
	helpWidth  = 100
)

// printColumns prints a name and, beside it, its description over as many lines as it takes.
func printColumns(w io.Writer, name, text string) {
	line := "  " + name
	if len(line) >= helpIndent-1 {
		fmt.Fprintln(w, line)
		line = ""
	}
	line += strings.Repeat(" ", helpIndent-len(line))
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > helpWidth {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line = strings.Repeat(" ", helpIndent)
		}
		line += word + " "
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}
