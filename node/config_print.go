package node

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// WriteTOML writes the configuration as a file that [Load] reads back to the
// same. What was set somewhere is followed by a comment that says where.
func (l *Loaded) WriteTOML(w io.Writer) error {
	var b strings.Builder
	value := reflect.ValueOf(l.Config)
	for i, section := range Sections() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[%s]\n", section.Key)
		for _, s := range section.Settings {
			name := strings.TrimPrefix(s.Key, section.Key+".")
			fmt.Fprintf(&b, "%s = %s", name, tomlText(printable(s, value)))
			if origin := l.Origin[s.Key]; origin != "" {
				fmt.Fprintf(&b, " # from %s", origin)
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Tree is the configuration as nested maps: section, setting, value; a section
// in another is beside its settings. Values are text, numbers, booleans and
// lists of text; sizes and durations are text with their unit.
func (c *Config) Tree() map[string]map[string]any {
	tree := map[string]map[string]any{}
	value := reflect.ValueOf(*c)
	for _, section := range Sections() {
		table := map[string]any{}
		for _, s := range section.Settings {
			table[strings.TrimPrefix(s.Key, section.Key+".")] = printable(s, value)
		}
		if outer, inner, is := strings.Cut(section.Key, "."); is {
			tree[outer][inner] = table // which comes behind the outer one
			continue
		}
		tree[section.Key] = table
	}
	return tree
}

// printable is one setting's value without any secret.
func printable(s Setting, config reflect.Value) any {
	field := config.FieldByIndex(s.index)
	switch x := field.Interface().(type) {
	case []string:
		return append([]string{}, x...)
	case time.Duration, Size:
		return settingText(field)
	case string:
		if s.Key == "object_store.url" && x != "" {
			return redacted(x)
		}
		if s.Key == "pki.join" && x != "" && x[0] != '@' {
			return "(not shown)"
		}
		return x
	default:
		return x
	}
}

func tomlText(v any) string {
	switch x := v.(type) {
	case string:
		return tomlString(x)
	case []string:
		quoted := make([]string, len(x))
		for i, item := range x {
			quoted[i] = tomlString(item)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return fmt.Sprint(x)
	}
}

// tomlString is a basic string of TOML, whose escapes are those of JSON.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			b.WriteString(`\u` + fmt.Sprintf("%04X", r))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// WriteDocs writes docs/configuration.md.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString(docsHead)
	for _, section := range Sections() {
		fmt.Fprintf(&b, "\n## [%s]\n\n%s\n\n", section.Key, section.Doc)
		b.WriteString("| Setting | Type | Default | Environment | Flag | Meaning |\n|---|---|---|---|---|---|\n")
		for _, s := range section.Settings {
			fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s | %s |\n",
				strings.TrimPrefix(s.Key, section.Key+"."), s.Type, code(docsDefault(s)), s.Env, code(flagText(s.Flag)), s.Doc)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const docsHead = `# Configuration

<!-- Generated from the code by "rustmq config docs": do not edit. -->

Every setting has a default, and "rustmq serve" needs none of them set. Stronger ones win: the TOML file named by
--config or RUSTMQ_CONFIG, then the environment, then flags. "rustmq config print" shows what comes
out, and where from; "rustmq config validate FILE" checks a file. A setting that does not exist is an error.

Sizes are written like 64MiB (KiB, MiB, GiB, TiB are powers of 1,024; KB, MB, GB, TB of 1,000), durations like 250ms, 10s, 5m
or 12h. In the environment and in flags a list is separated by commas.
`

func docsDefault(s Setting) string {
	if s.Default == "" {
		return ""
	}
	if s.Type == "text" || s.Type == "size" || s.Type == "duration" {
		return strconv.Quote(s.Default)
	}
	return s.Default
}

func flagText(flag string) string {
	if flag == "" {
		return ""
	}
	return "--" + flag
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
