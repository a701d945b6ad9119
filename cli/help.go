package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

const helpWidth = 110

// rootHelp is the help of the program.
func rootHelp(root *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage: %s COMMAND\n\n", root.Name, root.Usage, root.Name)
	for _, c := range root.Commands {
		fmt.Fprintf(&b, "  %-11s %s\n", c.Name, c.Usage)
	}
	b.WriteString("\nEach command has --help with an example. To begin: rustmq serve\n")
	return b.String()
}

// helpText is a command's help: what it does, how it is written, an example and its flags.
func helpText(path string, c *cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", path, c.Usage)
	switch {
	case len(c.Subcommands) > 0:
		fmt.Fprintf(&b, "Usage: %s COMMAND\n\n", path)
		for _, sub := range c.Subcommands {
			fmt.Fprintf(&b, "  %s\n", strings.TrimRight(fmt.Sprintf("%-11s %s", sub.Name, sub.Usage), " "))
		}
		fmt.Fprintf(&b, "\nFor example: %s %s --help\n", path, c.Subcommands[0].Name)
		return b.String()
	default:
		fmt.Fprintf(&b, "Usage: %s\n", strings.Join(strings.Fields(path+" "+c.ArgsUsage+" [FLAGS]"), " "))
	}
	if c.Description != "" {
		b.WriteByte('\n')
		for line := range strings.SplitSeq(c.Description, "\n") {
			indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
			b.WriteString(wrap(line, indent, helpWidth+20))
		}
	}
	var order []string
	byCategory := map[string][]cli.Flag{}
	for _, f := range c.Flags {
		category := "Flags"
		if g, ok := f.(cli.CategorizableFlag); ok && g.GetCategory() != "" {
			category = g.GetCategory()
		}
		if byCategory[category] == nil {
			order = append(order, category)
		}
		byCategory[category] = append(byCategory[category], f)
	}
	for _, category := range order {
		fmt.Fprintf(&b, "\n%s:\n", category)
		for _, f := range byCategory[category] {
			b.WriteString(flagHelp(f))
		}
	}
	return b.String()
}

// flagHelp is a flag's names and value, and below or beside them what it means.
func flagHelp(f cli.Flag) string {
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	var short, long []string
	for _, name := range f.Names() {
		if len(name) == 1 {
			short = append(short, "-"+name)
		} else {
			long = append(long, "--"+name)
		}
	}
	names := strings.Join(append(short, long...), ", ")
	usage := doc.GetUsage()
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		if value, after, ok := strings.Cut(rest, "`"); ok {
			names += " " + value
			usage = before + value + after
		}
	} else if doc.TakesValue() {
		names += " VALUE"
	}
	usage, env, inEnv := strings.Cut(usage, " [$")
	if def := doc.GetDefaultText(); def != "" && doc.TakesValue() && !strings.Contains(usage, "(default") && def != "0s" && def != "0" {
		usage += " (default: " + strings.Trim(def, `"`) + ")"
	}
	if inEnv {
		usage += " [$" + env
	}
	const indent = "        "
	return "  " + names + "\n" + wrap(usage, indent, helpWidth)
}

// wrap breaks text into lines of at most width bytes, each with the indent before it.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line)+len(word) > width && line != indent {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

// literal is text as a template that gives just that text.
func literal(text string) string {
	return "{{" + fmt.Sprintf("%q", text) + "}}"
}
