package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/rustmq/rustmq/cli/bench"
	"github.com/rustmq/rustmq/node"
)

// The exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs one command line, args[0] being the program's name, and returns the
// exit status: 0 done, 1 the operation failed, 2 usage.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return (&app{environ: os.Environ(), stdin: stdin, stdout: stdout, stderr: stderr, spawn: spawnFarEnd}).run(ctx, args)
}

// app is one command line's surroundings.
type app struct {
	environ []string // "NAME=value"
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	spawn   bench.Spawn // starts the far end of bench's bounds

	saidCutOff bool // that a node which is cut off answers
}

// usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

func (a *app) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		args = []string{"rustmq"}
	}
	root := a.commands()
	return a.status(root.RunContext(ctx, reorder(root.Commands, args)))
}

// status says what went wrong, if anything did, in one line, and with which exit status that ends.
func (a *app) status(err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(a.stderr, "rustmq: "+oneLine(err))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// oneLine is an error's text in one line.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func (a *app) commands() *cli.App {
	root := &cli.App{
		Name:                      "rustmq",
		Usage:                     "a durable message streaming system in one binary",
		Version:                   node.Version(),
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Reader:                    a.stdin,
		Writer:                    a.stdout,
		ErrWriter:                 a.stderr,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usagef("%v", err) },
		Action:                    unknownCommand,
		Commands: []*cli.Command{
			a.serveCommand(),
			a.topicCommand(),
			a.groupCommand(),
			a.produceCommand(),
			a.consumeCommand(),
			a.benchCommand(),
			a.verifyCommand(),
			a.ctlCommand(),
			a.walCommand(),
			a.objectCommand(),
			a.raftCommand(),
			a.configCommand(),
			a.versionCommand(),
			a.completionCommand(),
		},
	}
	root.Commands = slices.DeleteFunc(root.Commands, func(c *cli.Command) bool { return c == nil })
	finish("rustmq", root.Commands)
	root.CustomAppHelpTemplate = literal(rootHelp(root))
	return root
}

// finish sets what is the same for every command.
func finish(parent string, commands []*cli.Command) {
	for _, c := range commands {
		name, path := c.Name, parent+" "+c.Name
		c.CustomHelpTemplate = literal(helpText(path, c))
		c.HideHelpCommand = true
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			return usagef("%s: %v (see %s --help)", name, err, path)
		}
		if len(c.Subcommands) > 0 {
			c.Action = unknownCommand
			finish(path, c.Subcommands)
		}
	}
}

// unknownCommand runs where a word should have been a command: it says which, or
// shows the help when there is none.
func unknownCommand(c *cli.Context) error {
	commands := c.Command.Subcommands
	if c.Args().Len() == 0 {
		if len(c.Lineage()) <= 2 {
			return cli.ShowAppHelp(c)
		}
		return usagef("%s: which of its commands: %s?", c.Command.Name, commandNames(commands))
	}
	return usagef("there is no command %q: there are %s", c.Args().First(), commandNames(commands))
}

func commandNames(commands []*cli.Command) string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// reorder puts flags before arguments, for the parser stops looking for flags at
// the first argument and would take the rest for arguments too, in silence. What
// follows "--" are arguments whatever they look like. -n5 becomes -n 5.
func reorder(commands []*cli.Command, args []string) []string {
	out := args[:1:1]
	rest := args[1:]
	var current *cli.Command
	depth := 0
	for len(rest) > 0 {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 {
			break
		}
		current, commands = commands[i], commands[i].Subcommands
		out, rest = append(out, rest[0]), rest[1:]
		depth++
	}
	if current == nil {
		return args
	}
	var arguments []string
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		if word == "--" {
			arguments = append(arguments, rest...)
			break
		}
		if word == "--help" || word == "-h" {
			return append(args[:1+depth:1+depth], "--help") // the library would take an argument for a topic of its help
		}
		if len(word) < 2 || word[0] != '-' {
			arguments = append(arguments, word)
			continue
		}
		flags, takesNext := flagWords(current.Flags, word)
		out = append(out, flags...)
		if takesNext && len(rest) > 0 {
			out, rest = append(out, rest[0]), rest[1:]
		}
	}
	if len(arguments) > 0 {
		out = append(append(out, "--"), arguments...)
	}
	return out
}

// flagWords is a flag as the parser wants it, and whether its value is the next
// word.
func flagWords(flags []cli.Flag, word string) (words []string, takesNext bool) {
	name := strings.TrimLeft(word, "-")
	if known, takesValue := lookup(flags, name); known {
		return []string{word}, takesValue
	}
	if short := word[1:2]; word[1] != '-' && len(word) > 2 {
		if known, takesValue := lookup(flags, short); known && takesValue && !strings.Contains(name[:2], "=") {
			return []string{"-" + short, word[2:]}, false
		}
	}
	return []string{word}, false
}

func lookup(flags []cli.Flag, name string) (known, takesValue bool) {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return true, !isBool
		}
	}
	return false, false
}

// env is a variable of the environment, "" when it is not set.
func (a *app) env(name string) string {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(a.environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// terminal says whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// configHome is the directory of this program's files about the user, "" when
// there is none.
func (a *app) configHome() string {
	if dir := a.env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "rustmq")
	}
	if home := a.env("HOME"); home != "" {
		return filepath.Join(home, ".config", "rustmq")
	}
	return ""
}

// arguments checks how many there are; usage says what they should be.
func arguments(c *cli.Context, least, most int) error {
	n := c.NArg()
	if n < least {
		return usagef("%s: %s is missing (see %s --help)", c.Command.Name, c.Command.ArgsUsage, c.Command.HelpName)
	}
	if most >= 0 && n > most {
		return usagef("%s: what is %q? It takes %s (see %s --help)", c.Command.Name, c.Args().Get(most), orNothing(c.Command.ArgsUsage), c.Command.HelpName)
	}
	return nil
}

func orNothing(usage string) string {
	if usage == "" {
		return "no arguments"
	}
	return usage
}
