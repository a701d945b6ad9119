// ApiVersions (18), versions 0 to 5.
//
// Tells all APIs that are served, with their versions, and nothing that is not. A version that is not known is answered in the layout of version 0 with
// UNSUPPORTED_VERSION and the versions of ApiVersions itself (KIP-511), whatever the rest of the request looks like. A name or version of the client's software
// against Kafka's rules is INVALID_REQUEST.
//
// From version 5 on a client may say which cluster and node it takes this one for: it is told REBOOTSTRAP_REQUIRED where it has come to another one (KIP-1242).
//
// Produce is told from version 0 on, as by Kafka: librdkafka concludes from a higher one that there are no codecs. Versions 0 to 2 of it get UNSUPPORTED_VERSION.
//
// Not supported: features. None are told, so clients use transactions of no kind, and groups as far as their APIs are here.

package kafkaproto

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

func apiVersionsAPI() api {
	return api{key: kmsg.ApiVersions, min: 0, max: 5, start: apiVersions}
}

// softwareName is what KIP-511 allows as the name or version of a client's software.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// maxSoftware is the longest name, or version, of a client's software that is remembered, in bytes.
const maxSoftware = 100

// apiVersions notes at once what the client says of itself, for all requests that follow.
func apiVersions(c *call) (answer, error) {
	q, err := decode[*kmsg.ApiVersionsRequest](c)
	if err != nil {
		return nil, err
	}
	r := kmsg.NewPtrApiVersionsResponse()
	r.Version = c.version
	if c.version >= 3 {
		if !softwareName.MatchString(q.ClientSoftwareName) || !softwareName.MatchString(q.ClientSoftwareVersion) {
			r.ErrorCode = int16(mq.InvalidRequest)
			return always(message{r}), nil
		}
		name, version := q.ClientSoftwareName, q.ClientSoftwareVersion
		c.conn.identify(c.session.ClientID, name[:min(len(name), maxSoftware)]+" "+version[:min(len(version), maxSoftware)])
	}
	if r.ErrorCode = c.misrouted(q); r.ErrorCode != 0 {
		return always(message{r}), nil
	}
	r.ApiKeys = make([]kmsg.ApiVersionsResponseApiKey, 0, len(c.conn.srv.table))
	for i := range c.conn.srv.table {
		r.ApiKeys = append(r.ApiKeys, c.conn.srv.table[i].offer())
	}
	return always(message{r}), nil
}

// rebootstrapRequired is Kafka's error for who takes this node for another.
const rebootstrapRequired = 129

// misrouted says that the client takes this node for another one. Versions before 5 do not say.
func (c *call) misrouted(q *kmsg.ApiVersionsRequest) int16 {
	cluster, node := c.broker().Identity()
	switch {
	case (q.ClusterID == nil) != (q.NodeID < 0):
		return int16(mq.InvalidRequest)
	case q.ClusterID != nil && (*q.ClusterID != cluster.String() || mq.NodeID(q.NodeID) != node):
		return rebootstrapRequired
	}
	return 0
}

// offer is the row as clients are told.
func (a *api) offer() kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = a.key.Int16(), a.min, a.max
	return k
}

// refuseAPIVersions answers a version that is not known.
func (c *call) refuseAPIVersions() answer {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = unsupportedVersion
	r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{c.api.offer()}
	return func(context.Context) (body, error) { return message{r}, nil }
}
