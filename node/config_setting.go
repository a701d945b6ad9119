package node

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Setting describes one field of [Config].
type Setting struct {
	Key     string // "wal.segment_size", as in the file
	Env     string // "RUSTMQ_WAL_SEGMENT_SIZE"
	Flag    string // "node-id" for --node-id of serve; "" where there is none
	Type    string // text, number, yes/no, size, price, duration, list
	Default string // as it would be written; "" for nothing
	Doc     string

	index []int // for reflect.Value.FieldByIndex
}

// Section is a group of settings: one table of the file.
type Section struct {
	Key      string
	Doc      string
	Settings []Setting
}

// Sections lists all settings in the order of [Config].
func Sections() []Section {
	def := Default()
	value := reflect.ValueOf(def)
	var sections []Section
	for _, sf := range reflect.VisibleFields(value.Type()) {
		section := Section{Key: sf.Tag.Get("koanf"), Doc: sf.Tag.Get("doc")}
		for _, field := range reflect.VisibleFields(sf.Type) {
			key := section.Key + "." + field.Tag.Get("koanf")
			index := append(append([]int(nil), sf.Index...), field.Index...)
			section.Settings = append(section.Settings, Setting{
				Key:     key,
				Env:     envName(key),
				Flag:    field.Tag.Get("flag"),
				Type:    typeName(field.Type),
				Default: settingText(value.FieldByIndex(index)),
				Doc:     field.Tag.Get("doc"),
				index:   index,
			})
		}
		sections = append(sections, section)
	}
	return sections
}

// Settings lists all settings without their sections.
func Settings() []Setting {
	var all []Setting
	for _, s := range Sections() {
		all = append(all, s.Settings...)
	}
	return all
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

var (
	sizeType     = reflect.TypeFor[Size]()
	priceType    = reflect.TypeFor[Price]()
	durationType = reflect.TypeFor[time.Duration]()
	listType     = reflect.TypeFor[[]string]()
)

func typeName(t reflect.Type) string {
	switch t {
	case sizeType:
		return "size"
	case priceType:
		return "price"
	case durationType:
		return "duration"
	case listType:
		return "list"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int:
		return "number"
	case reflect.Bool:
		return "yes/no"
	default:
		panic("node: no setting can be a " + t.String())
	}
}

// settingText is a value as a person would write it in the environment.
func settingText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case time.Duration:
		return durationText(x)
	default:
		return fmt.Sprint(x)
	}
}

// durationText is d without the zero units that time.Duration prints: 10m, not 10m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// assign puts value into field. The value is what TOML gave (string, int64,
// bool, []any), or a string or []string from the environment or a flag.
func assign(field reflect.Value, value any) error {
	switch field.Type() {
	case sizeType:
		return assignSize(field, value)
	case priceType:
		return assignPrice(field, value)
	case durationType:
		return assignDuration(field, value)
	case listType:
		return assignList(field, value)
	}
	text, isText := value.(string)
	switch field.Kind() {
	case reflect.String:
		if !isText {
			return fmt.Errorf("%v is not text: put it in quotes", value)
		}
		field.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(fmt.Sprint(value), 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", fmt.Sprint(value))
		}
		field.SetInt(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(fmt.Sprint(value))
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", fmt.Sprint(value))
		}
		field.SetBool(b)
	}
	return nil
}

func assignSize(field reflect.Value, value any) error {
	size, err := ParseSize(fmt.Sprint(value))
	if err != nil {
		return err
	}
	field.SetInt(int64(size))
	return nil
}

func assignPrice(field reflect.Value, value any) error {
	price, err := ParsePrice(fmt.Sprint(value))
	if err != nil {
		return err
	}
	field.SetFloat(float64(price))
	return nil
}

func assignDuration(field reflect.Value, value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("%v is not a duration: write it with its unit, like \"250ms\"", value)
	}
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write it like 250ms, 10s, 5m or 12h", text)
	}
	field.SetInt(int64(d))
	return nil
}

func assignList(field reflect.Value, value any) error {
	var list []string
	switch v := value.(type) {
	case string:
		list = splitList(v)
	case []string:
		for _, item := range v {
			list = append(list, splitList(item)...)
		}
	case []any:
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return fmt.Errorf("%v is not text: a list looks like [\"one\", \"two\"]", item)
			}
			list = append(list, text)
		}
	default:
		return fmt.Errorf("%v is not a list: it looks like [\"one\", \"two\"]", value)
	}
	field.Set(reflect.ValueOf(list))
	return nil
}

// splitList cuts at commas and drops what is empty.
func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
