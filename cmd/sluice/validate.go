package main

// validateCommand checks a file and exits: 0 and one line when it is good, 1 and the first error
// with its position when it is not.
type validateCommand struct {
	File               string `arg:"" help:"Configuration file: .yaml, .yml or .json."`
	AllowUnknownFields bool   `name:"allow-unknown-static-fields" help:"Count unknown fields instead of refusing them."`
}

// Run implements the subcommand.
func (c *validateCommand) Run() error {
	s := serveCommand{ConfigPath: c.File, AllowUnknownFields: c.AllowUnknownFields}
	return s.validate()
}
