package node

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
	tomlerr "github.com/pelletier/go-toml/v2"

	"github.com/rustmq/rustmq/mq"
)

const envPrefix = "RUSTMQ_"

// notSettings are the names in the environment that begin like a setting and
// belong to the client commands, or to the choice of the file itself.
var notSettings = [...]string{
	"RUSTMQ_CONFIG", "RUSTMQ_SERVER", "RUSTMQ_PROFILE", "RUSTMQ_CA", "RUSTMQ_CERT", "RUSTMQ_KEY", "RUSTMQ_TIMEOUT", "RUSTMQ_RACK",
	"RUSTMQ_TRANSPORT",
}

// serviceLink matches what Kubernetes puts into the environment of every pod
// when there is a service whose name begins with rustmq: nobody's setting, and
// no setting's name ends so.
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// Sources is where settings come from, the later ones being stronger: defaults,
// the file, the environment, flags.
type Sources struct {
	File    string         // path of a TOML file, or "" for none
	Environ []string       // "NAME=value", as os.Environ gives it
	Flags   map[string]any // by key, such as "node.id": text, or []string for a list
}

// Loaded is a configuration, and where each setting that is not at its default
// was set.
type Loaded struct {
	Config
	Origin map[string]string // key -> "rustmq.toml", "RUSTMQ_NODE_ID" or "--node-id"
}

// Load reads all sources, and checks what comes out. Any key that is not a
// setting is an error that names the nearest one that is. Errors are
// *[mq.Error] with the code INVALID_CONFIG, and name the place and the setting.
func Load(src Sources) (*Loaded, error) {
	l := &loader{
		tree:     koanf.New("."),
		settings: map[string]Setting{},
		loaded:   &Loaded{Config: Default(), Origin: map[string]string{}},
	}
	for _, s := range Settings() {
		l.settings[s.Key] = s
	}
	for _, layer := range []func(Sources) error{l.file, l.environ, l.flags} {
		if err := layer(src); err != nil {
			return nil, err
		}
	}
	if err := l.decode(); err != nil {
		return nil, err
	}
	if err := l.loaded.Validate(); err != nil {
		return nil, err
	}
	return l.loaded, nil
}

type loader struct {
	tree     *koanf.Koanf
	settings map[string]Setting
	loaded   *Loaded
}

func (l *loader) file(src Sources) error {
	if src.File == "" {
		return nil
	}
	text, err := os.ReadFile(src.File)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "read configuration: %w", err)
	}
	tree, err := toml.Parser().Unmarshal(text)
	if err != nil {
		var place *tomlerr.DecodeError
		if errors.As(err, &place) {
			row, col := place.Position()
			return mq.Errorf(mq.InvalidConfig, "%s:%d:%d: %s", src.File, row, col, strings.TrimPrefix(place.Error(), "toml: "))
		}
		return mq.Errorf(mq.InvalidConfig, "%s: %w", src.File, err)
	}
	layer := koanf.New(".")
	if err := layer.Load(confmap.Provider(tree, ""), nil); err != nil {
		return mq.Errorf(mq.InvalidConfig, "%s: %w", src.File, err)
	}
	return l.merge(layer, func(string) string { return src.File })
}

func (l *loader) environ(src Sources) error {
	keys := map[string]string{}
	for key, s := range l.settings {
		keys[s.Env] = key
	}
	var unknown []string
	layer := koanf.New(".")
	err := layer.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return src.Environ },
		TransformFunc: func(name, value string) (string, any) {
			key, ok := keys[name]
			if !ok && !slices.Contains(notSettings[:], name) && !serviceLink.MatchString(name) {
				unknown = append(unknown, name)
			}
			return key, value // an empty key is left out
		},
	}), nil)
	if err != nil {
		return mq.Errorf(mq.InvalidConfig, "read the environment: %w", err)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return mq.Errorf(mq.InvalidConfig, "environment: unknown setting %s: did you mean %s?", unknown[0], mq.Nearest(unknown[0], slices.Collect(maps.Keys(keys))))
	}
	return l.merge(layer, func(key string) string { return l.settings[key].Env })
}

func (l *loader) flags(src Sources) error {
	layer := koanf.New(".")
	if err := layer.Load(confmap.Provider(src.Flags, "."), nil); err != nil {
		return mq.Errorf(mq.InvalidConfig, "read flags: %w", err)
	}
	return l.merge(layer, func(key string) string { return "--" + l.settings[key].Flag })
}

// merge puts a layer over the ones before it. The origin is told by key.
func (l *loader) merge(layer *koanf.Koanf, origin func(key string) string) error {
	flat := layer.All()
	keys := layer.Keys() // sorted: the same error each time
	for _, key := range keys {
		if _, ok := l.settings[key]; ok {
			l.loaded.Origin[key] = origin(key)
			continue
		}
		if table, ok := flat[key].(map[string]any); ok && len(table) == 0 && l.isSection(key) {
			continue // an empty [section]
		}
		if l.isSection(key) {
			return mq.Errorf(mq.InvalidConfig, "%s: %s is a section: write its settings below [%s]", origin(key), key, key)
		}
		return mq.Errorf(mq.InvalidConfig, "%s: unknown setting %s: did you mean %s?", origin(key), key, mq.Nearest(key, slices.Collect(maps.Keys(l.settings))))
	}
	return l.tree.Merge(layer)
}

func (l *loader) isSection(key string) bool {
	for known := range l.settings {
		if strings.HasPrefix(known, key+".") {
			return true
		}
	}
	return false
}

// decode puts the merged values into the configuration's fields.
func (l *loader) decode() error {
	target := reflect.ValueOf(&l.loaded.Config).Elem()
	for _, s := range Settings() {
		if !l.tree.Exists(s.Key) {
			continue
		}
		if err := assign(target.FieldByIndex(s.index), l.tree.Get(s.Key)); err != nil {
			return mq.Errorf(mq.InvalidConfig, "%s: %s: %w", l.loaded.Origin[s.Key], s.Key, err)
		}
	}
	return nil
}
