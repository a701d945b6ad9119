package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/rustmq/rustmq/mq"
)

// profile is how to reach one cluster: a table of profiles.toml.
type profile struct {
	Server []string `toml:"server"`
	CA     string   `toml:"ca"`
	Cert   string   `toml:"cert"`
	Key    string   `toml:"key"`
	Rack   string   `toml:"rack"`
	// Transport is auto, quic or tcp.
	Transport string `toml:"transport"`
}

// profiles is the file: tables by name, and which holds when nothing is said.
type profiles struct {
	path    string
	def     string
	byName  map[string]profile
	inOrder []string // names, sorted
}

// readProfiles reads the file; one that is not there is empty.
func (a *app) readProfiles() (*profiles, error) {
	p := &profiles{byName: map[string]profile{}}
	home := a.configHome()
	if home == "" {
		return p, nil
	}
	p.path = filepath.Join(home, "profiles.toml")
	text, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "read profiles: %w", err)
	}
	var file struct {
		Default string `toml:"default"`
	}
	tables := map[string]any{}
	if err := errors.Join(toml.Unmarshal(text, &file), toml.Unmarshal(text, &tables)); err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "profiles %s: %w", p.path, err)
	}
	p.def = file.Default
	for name, table := range tables {
		if _, ok := table.(map[string]any); !ok {
			continue
		}
		one, err := toml.Marshal(table)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "profiles %s: %s: %w", p.path, name, err)
		}
		var parsed profile
		if err := toml.NewDecoder(strings.NewReader(string(one))).DisallowUnknownFields().Decode(&parsed); err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "profiles %s: [%s] may have server, ca, cert, key, rack and transport: %w", p.path, name, err)
		}
		p.byName[name] = parsed
		p.inOrder = append(p.inOrder, name)
	}
	slices.Sort(p.inOrder)
	return p, nil
}

// named is the profile of a name, which must exist.
func (p *profiles) named(name string) (profile, error) {
	one, ok := p.byName[name]
	if !ok {
		return profile{}, mq.Errorf(mq.InvalidConfig, "there is no profile %q in %s: it has %s", name, p.path, orNothingAt(p.inOrder))
	}
	return one, nil
}

// serving is the first profile that names one of the servers.
func (p *profiles) serving(servers []string) (profile, bool) {
	for _, name := range p.inOrder {
		for _, server := range p.byName[name].Server {
			if slices.Contains(servers, server) {
				return p.byName[name], true
			}
		}
	}
	return profile{}, false
}

func orNothingAt(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// writeProfile puts the profile of a node that has just started into the file, in
// place of the one of the same name, and leaves everything else in it alone. Only
// one process at a time does so.
func (a *app) writeProfile(name string, one profile) (path string, err error) {
	home := a.configHome()
	if home == "" {
		return "", nil
	}
	path = filepath.Join(home, "profiles.toml")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("write profile: %w", err)
	}
	unlock, err := lockProfiles(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("write profile: %w", err)
	}
	text := replaceTable(string(old), name, one)
	if text == string(old) {
		return path, nil
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write profile: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("write profile: %w", err)
	}
	return path, nil
}

const (
	lockTries = 100
	lockPause = 20 * time.Millisecond
	lockStale = 10 * time.Second
)

// lockProfiles waits for its turn: whoever makes the file has it. One that is left
// over from a process that died is taken over.
func lockProfiles(path string) (unlock func(), err error) {
	for range lockTries {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			return func() { _ = os.Remove(path) }, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("write profile: %w", err)
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > lockStale {
			_ = os.Remove(path)
		}
		time.Sleep(lockPause)
	}
	return nil, fmt.Errorf("write profile: %s is held by another process: remove it if there is none", path)
}

// replaceTable is the text with the table of that name replaced, or added at the
// end.
func replaceTable(text, name string, one profile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\nserver = [", name)
	for i, s := range one.Server {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(s))
	}
	fmt.Fprintf(&b, "]\nca = %s\n", strconv.Quote(one.CA))
	table := b.String()

	lines := strings.SplitAfter(text, "\n")
	from := slices.IndexFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "["+name+"]" })
	if from < 0 {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if text != "" {
			text += "\n"
		}
		return text + table
	}
	to := from + 1
	for to < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[to]), "[") {
		to++
	}
	if to < len(lines) {
		table += "\n"
	}
	return strings.Join(lines[:from], "") + table + strings.Join(lines[to:], "")
}
