package clouds

import (
	"time"

	"github.com/rustmq/rustmq/tier"
)

const (
	// tries and maxBackoff are for the clouds' own clients, which try again what may
	// help: no answer, 429, 500, 502, 503 and 504, SlowDown. The pauses grow from
	// a fraction of a second, and are half by chance.
	tries      = 5
	maxBackoff = 5 * time.Second
	// idleConnections is how many connections without a request are kept.
	idleConnections = 64
)

// Schemes are the clouds, for [tier.OpenStore] and [tier.CheckURL].
func Schemes() []tier.Scheme {
	return []tier.Scheme{
		{
			Name: "s3", Like: "s3://BUCKET?region=eu-central-1", Open: openS3,
			Settings: []string{"region", "endpoint", "path_style", "credentials", "profile", "sse", "kms_key", "checksums"},
		},
		{Name: "gs", Like: "gs://BUCKET", Open: openGCS, Settings: []string{"endpoint", "credentials", "anonymous", "kms_key"}},
		{Name: "azblob", Like: "azblob://CONTAINER?account=NAME", Open: openAzure, Settings: []string{"account", "endpoint", "credentials", "encryption_scope"}},
	}
}
