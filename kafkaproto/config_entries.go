package kafkaproto

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// configEntry is a config as clients are told of it.
type configEntry struct {
	name, value, doc string
	typ              kmsg.ConfigType
	readOnly         bool
	synonyms         []synonym // what its value comes from, the first one holds; never empty
}

// synonym is where a value comes from, and what a config is called there.
type synonym struct {
	name, value string
	source      kmsg.ConfigSource
}

func (e *configEntry) source() kmsg.ConfigSource { return e.synonyms[0].source }

// size is what the entry takes in a response without synonyms and documentation, in bytes.
func (e *configEntry) size() int { return 200 + len(e.name) + len(e.value) }

// created is the entry as the response to CreateTopics has it.
func (e *configEntry) created() kmsg.CreateTopicsResponseTopicConfig {
	out := kmsg.NewCreateTopicsResponseTopicConfig()
	out.Name, out.Value, out.ReadOnly, out.Source = e.name, &e.value, e.readOnly, int8(e.source())
	return out
}

// described is the entry as the response to DescribeConfigs has it, and what that takes in bytes.
func (e *configEntry) described(synonyms, doc bool) (out kmsg.DescribeConfigsResponseResourceConfig, size int) {
	out, size = kmsg.NewDescribeConfigsResponseResourceConfig(), e.size()
	out.Name, out.Value, out.ReadOnly, out.Source, out.ConfigType = e.name, &e.value, e.readOnly, e.source(), e.typ
	out.IsDefault = out.Source == kmsg.ConfigSourceDefaultConfig
	if doc {
		out.Documentation, size = &e.doc, size+len(e.doc)
	}
	if synonyms {
		for _, s := range e.synonyms {
			also := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			also.Name, also.Value, also.Source = s.name, &s.value, s.source
			out.ConfigSynonyms, size = append(out.ConfigSynonyms, also), size+100+len(s.name)+len(s.value)
		}
	}
	return out, size
}

// topicEntries are all configs that a topic with these settings has, by name.
func topicEntries(settings []Setting) (entries []configEntry) {
	for _, c := range topicConfigs() {
		e := configEntry{name: c.name, value: c.fixed, doc: c.doc, typ: c.typ, readOnly: !c.setting()}
		switch {
		case c.absent:
			continue
		case c.setting():
			at := slices.IndexFunc(settings, func(s Setting) bool { return s.Name == c.name })
			if at < 0 {
				continue
			}
			e.value, e.synonyms = settings[at].Value, settings[at].synonyms(cmp.Or(c.broker, c.name))
		default:
			e.synonyms = []synonym{{c.name, c.fixed, kmsg.ConfigSourceDefaultConfig}}
		}
		entries = append(entries, e)
	}
	return entries
}

// synonyms are where the value of a setting comes from. broker is what the cluster calls it.
func (s *Setting) synonyms(broker string) (list []synonym) {
	if s.Topic != nil {
		list = append(list, synonym{s.Name, *s.Topic, kmsg.ConfigSourceDynamicTopicConfig})
	}
	if s.Cluster != nil {
		list = append(list, synonym{broker, *s.Cluster, kmsg.ConfigSourceDynamicDefaultBrokerConfig})
	}
	return append(list, synonym{broker, s.Default, kmsg.ConfigSourceDefaultConfig})
}

// clusterEntries are the cluster's settings as configs of brokers, by name.
func clusterEntries(settings []Setting) (entries []configEntry) {
	for _, s := range settings {
		e := configEntry{name: s.Name, value: s.Value, doc: s.Doc, typ: kmsg.ConfigTypeInt, readOnly: true}
		if c, err := findTopicConfig(s.Name); err == nil {
			e.name, e.typ = cmp.Or(c.broker, c.name), c.typ
		}
		e.synonyms = s.synonyms(e.name)
		entries = append(entries, e)
	}
	return entries
}

// nodeEntries are the configs of this node.
func (c *call) nodeEntries() (entries []configEntry) {
	add := func(name, value string, typ kmsg.ConfigType, doc string) {
		entries = append(entries, configEntry{name, value, doc, typ, true, []synonym{{name, value, kmsg.ConfigSourceStaticBrokerConfig}}})
	}
	limits, number := c.conn.srv.limits, strconv.Itoa
	_, id := c.broker().Identity()
	add("auto.create.topics.enable", strconv.FormatBool(c.conn.srv.cfg.MakeTopics), kmsg.ConfigTypeBoolean, "kafka.auto_create_topics: whether a topic that a client asks for by name is made when there is none.")
	add("broker.id", number(int(id)), kmsg.ConfigTypeInt, "node.id: the number of this node in its cluster.")
	add("connections.max.idle.ms", strconv.FormatInt(int64(limits.IdleTimeout/time.Millisecond), 10), kmsg.ConfigTypeLong, "kafka.idle_timeout: time after which a connection without a request is closed.")
	add("delete.topic.enable", "true", kmsg.ConfigTypeBoolean, "Topics can be deleted by whoever may do that.")
	add("fetch.max.bytes", number(limits.FetchBytes), kmsg.ConfigTypeInt, "Bytes of one fetch response, but for its first batch.")
	add("max.connections", number(limits.Connections), kmsg.ConfigTypeInt, "kafka.max_connections: connections of Kafka clients at one time.")
	add("max.connections.per.ip", number(limits.AddressesEach), kmsg.ConfigTypeInt, "kafka.max_connections_per_address: of these, those from one address.")
	add("node.id", number(int(id)), kmsg.ConfigTypeInt, "node.id: the number of this node in its cluster.")
	add("socket.request.max.bytes", number(limits.ProduceBytes), kmsg.ConfigTypeInt, "kafka.max_request_size: bytes of one produce request.")
	for _, n := range c.broker().AllNodes() {
		if n.ID == id {
			add("advertised.listeners", n.Host+":"+number(int(n.Port)), kmsg.ConfigTypeList, "kafka.advertise: where Kafka clients are told to go.")
			add("broker.rack", n.Rack, kmsg.ConfigTypeString, "node.rack: where the machine stands.")
		}
	}
	return entries
}
