package kafkaproto

import (
	"bytes"
	"context"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// refuse answers a version that is not served: ApiVersions so that the client learns what is, produce requests of old versions with an error for each partition, others with the error
// that their response has a place for. Where there is none, or the version is one that nobody knows yet, the connection is closed.
func (c *call) refuse() (answer, error) {
	switch {
	case c.api.key == kmsg.ApiVersions:
		return c.refuseAPIVersions(), nil
	case c.api.key == kmsg.Produce && c.version >= c.api.min && c.version <= c.api.max:
		return c.refuseProduce()
	}
	reason := mq.Errorf(mq.UnsupportedVersion, "version %d of %s: %d to %d are served", c.version, c.api.key.Name(), c.api.from, c.api.max)
	r := c.api.key.Response()
	if c.version < 0 || c.version > r.MaxVersion() {
		return nil, reason
	}
	r.SetVersion(c.version)
	code := reflect.ValueOf(r).Elem().FieldByName("ErrorCode")
	if !code.IsValid() {
		return nil, reason
	}
	// The struct is that of all versions: this one need not have the code.
	success := r.AppendTo(nil)
	code.SetInt(int64(unsupportedVersion))
	if bytes.Equal(r.AppendTo(nil), success) {
		return nil, reason
	}
	return always(message{r}), nil
}

// always is an answer that is known already.
func always(b body) answer {
	return func(context.Context) (body, error) { return b, nil }
}
