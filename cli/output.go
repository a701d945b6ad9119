package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// The formats of what is listed or described.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: formatTable, Usage: "`FORMAT`: table for people, json or yaml for programs"}
}

// checkOutput is for before anything is asked of a server.
func checkOutput(c *cli.Context) error {
	switch f := c.String("output"); f {
	case formatTable, formatJSON, formatYAML:
		return nil
	default:
		return usagef("%s: there is no output format %q: it may be table, json or yaml", c.Command.Name, f)
	}
}

// show writes value in the format that was asked for. table writes the lines of a
// table, its cells each ended by a tab.
func (a *app) show(c *cli.Context, value any, table func(w io.Writer)) error {
	out := bufio.NewWriter(a.stdout)
	switch c.String("output") {
	case formatJSON:
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(value); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	case formatYAML:
		if err := writeYAML(out, value); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	default:
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		table(t)
		if err := t.Flush(); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// list writes items in the format that was asked for, one by one: for what is too much to be held in memory. line is an
// item for people.
func (a *app) list(c *cli.Context, f func(item func(value any, line string) error) error) error {
	return a.buffered(func(w io.Writer) error {
		n, format := 0, c.String("output")
		err := f(func(value any, line string) error {
			n++
			switch format {
			case formatJSON:
				text, err := json.Marshal(value)
				if err != nil {
					return err
				}
				between := ",\n  "
				if n == 1 {
					between = "[\n  "
				}
				_, err = fmt.Fprintf(w, "%s%s", between, text)
				return err
			case formatYAML:
				return writeYAML(w, []any{value})
			}
			_, err := fmt.Fprintln(w, line)
			return err
		})
		switch {
		case err != nil:
		case n == 0 && format != formatTable:
			_, err = fmt.Fprintln(w, "[]")
		case format == formatJSON:
			_, err = fmt.Fprint(w, "\n]\n")
		}
		return err
	})
}

// writeYAML writes what JSON would say, as YAML of blocks.
func writeYAML(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var b strings.Builder
	y := yamlWriter{dec: dec, b: &b}
	if err := y.value(0, false); err != nil {
		return err
	}
	_, err = io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

type yamlWriter struct {
	dec *json.Decoder
	b   *strings.Builder
}

// value writes one value at a depth. What stands before it on its line is "key:" or "-" or nothing;
// inList says that it is "-", on whose line a map begins.
func (y *yamlWriter) value(depth int, inList bool) error {
	token, err := y.dec.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		fmt.Fprintf(y.b, " %s\n", yamlScalar(token))
		return nil
	}
	if !y.dec.More() {
		fmt.Fprintf(y.b, " %s\n", map[json.Delim]string{'[': "[]", '{': "{}"}[delim])
	} else if !inList || delim == '[' {
		y.b.WriteByte('\n')
	}
	for first := true; y.dec.More(); first = false {
		if inList && first && delim == '{' {
			y.b.WriteByte(' ')
		} else {
			y.b.WriteString(strings.Repeat("  ", depth))
		}
		if delim == '{' {
			key, err := y.dec.Token()
			if err != nil {
				return err
			}
			fmt.Fprintf(y.b, "%s:", yamlScalar(key))
		} else {
			y.b.WriteByte('-')
		}
		if err := y.value(depth+1, delim == '['); err != nil {
			return err
		}
	}
	_, err = y.dec.Token() // the closing one
	return err
}

// plainYAML are the texts that mean themselves in YAML without quotes.
var plainYAML = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

func yamlScalar(token any) string {
	text, ok := token.(string)
	if !ok {
		if token == nil {
			return "null"
		}
		return fmt.Sprint(token)
	}
	switch strings.ToLower(text) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return `"` + text + `"`
	}
	if plainYAML.MatchString(text) {
		return text
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return `""`
	}
	return string(quoted)
}

// row writes the cells of one line of a table.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}
