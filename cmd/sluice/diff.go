package main

import (
	"errors"
	"os"

	"github.com/sluiceproxy/sluice/proxy/explain"
)

// diffCommand says what a change of a configuration file means.
type diffCommand struct {
	Before             string `arg:"" help:"Configuration file as it is: .yaml, .yml or .json."`
	After              string `arg:"" help:"Configuration file as it would be."`
	ExitCode           bool   `name:"exit-code" help:"Exit 1 when the two mean different things."`
	AllowUnknownFields bool   `name:"allow-unknown-static-fields" help:"Leave unknown fields out instead of refusing the file."`
}

// errDiffer ends the command with exit code 1 for --exit-code.
var errDiffer = errors.New("the configurations differ")

// Run implements the subcommand.
func (c *diffCommand) Run() error {
	before := serveCommand{ConfigPath: c.Before, AllowUnknownFields: c.AllowUnknownFields}
	after := serveCommand{ConfigPath: c.After, AllowUnknownFields: c.AllowUnknownFields}
	a, err := before.load()
	if err != nil {
		return err
	}
	b, err := after.load()
	if err != nil {
		return err
	}
	if err := compiles(b.Conf); err != nil {
		return err
	}
	report := explain.Compare(a.Conf, b.Conf)
	if report.Empty() {
		return nil
	}
	if _, err := report.WriteTo(os.Stdout); err != nil {
		return err
	}
	if c.ExitCode {
		return errDiffer
	}
	return nil
}
