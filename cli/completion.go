package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func (a *app) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", ArgsUsage: "bash|zsh|fish", Usage: "write a script that completes commands and flags in a shell",
		Description: "Example: source <(rustmq completion bash)",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1); err != nil {
				return err
			}
			write, ok := map[string]func(io.Writer, []completable){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Args().First()]
			if !ok {
				return usagef("completion: there is no script for %q: it may be bash, zsh or fish", c.Args().First())
			}
			out := bufio.NewWriter(a.stdout)
			write(out, completables(nil, a.commands().Commands))
			return out.Flush()
		},
	}
}

// completable is a place on the command line: the commands so far, and what may come next.
type completable struct {
	path     []string // "topic", "create"
	commands []*cli.Command
	flags    []string // with their dashes
}

func completables(path []string, commands []*cli.Command) []completable {
	all := []completable{{path: path, commands: commands, flags: []string{"--help"}}}
	for _, c := range commands {
		below := append(append([]string(nil), path...), c.Name)
		if len(c.Subcommands) > 0 {
			all = append(all, completables(below, c.Subcommands)...)
			continue
		}
		leaf := completable{path: below, flags: []string{"--help"}}
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				if len(name) == 1 {
					leaf.flags = append(leaf.flags, "-"+name)
				} else {
					leaf.flags = append(leaf.flags, "--"+name)
				}
			}
		}
		all = append(all, leaf)
	}
	return all
}

func (c completable) words() string {
	var words []string
	for _, sub := range c.commands {
		words = append(words, sub.Name)
	}
	return strings.Join(append(words, c.flags...), " ")
}

func bashCompletion(w io.Writer, all []completable) {
	fmt.Fprint(w, bashHead)
	for _, c := range all {
		fmt.Fprintf(w, "    %q) found=%q ;;\n", strings.Join(c.path, " "), c.words())
	}
	fmt.Fprint(w, bashTail)
}

const bashHead = `# bash completion of rustmq
_rustmq() {
  local cur=${COMP_WORDS[COMP_CWORD]} place= found= candidate i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* ]] && break
    candidate="${place:+$place }${COMP_WORDS[i]}"
    _rustmq_known "$candidate" || break
    place=$candidate
  done
  _rustmq_words "$place"
  COMPREPLY=($(compgen -W "$found" -- "$cur"))
  if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
    compopt -o default 2>/dev/null
  fi
}
_rustmq_known() {
  local found=
  _rustmq_words "$1"
  [[ -n $found ]]
}
_rustmq_words() {
  case "$1" in
`

const bashTail = `    *) found= ;;
  esac
}
complete -F _rustmq rustmq
`

// zshCompletion is that of bash, which zsh can run.
func zshCompletion(w io.Writer, all []completable) {
	fmt.Fprint(w, "#compdef rustmq\nautoload -U +X bashcompinit && bashcompinit\n")
	bashCompletion(w, all)
}

func fishCompletion(w io.Writer, all []completable) {
	fmt.Fprint(w, fishHead)
	for _, c := range all {
		at := fmt.Sprintf("__rustmq_at %q", strings.Join(c.path, " "))
		if len(c.commands) > 0 {
			at += " exactly"
		}
		for _, sub := range c.commands {
			fmt.Fprintf(w, "complete -c rustmq -n '%s' -f -a %s -d %s\n", at, sub.Name, fishQuote(sub.Usage))
		}
		for _, flag := range c.flags {
			kind := "-l"
			if !strings.HasPrefix(flag, "--") {
				kind = "-s"
			}
			fmt.Fprintf(w, "complete -c rustmq -n '%s' %s %s\n", at, kind, strings.TrimLeft(flag, "-"))
		}
	}
}

const fishHead = `# fish completion of rustmq
function __rustmq_at
  set -l words (commandline -opc)
  set -l path
  for word in $words[2..-1]
    string match -q -- '-*' $word; and break
    set -a path $word
  end
  set -l want (string split -n ' ' -- $argv[1])
  set -l n (count $want)
  test (count $path) -ge $n; or return 1
  test "$argv[2]" = exactly; and test (count $path) -ne $n; and return 1
  for i in (seq $n)
    test "$path[$i]" = "$want[$i]"; or return 1
  end
end
`

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
