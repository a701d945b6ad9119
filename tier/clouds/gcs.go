package clouds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"gocloud.dev/blob/gcsblob"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// gcsStore writes to a bucket of Google Cloud Storage.
type gcsStore struct {
	bucket *storage.BucketHandle
	prefix string
	kmsKey string
}

func openGCS(ctx context.Context, l *tier.Location) (*tier.Opened, error) {
	opts, err := gcsOptions(l)
	if err != nil {
		return nil, err
	}
	client, err := storage.NewClient(ctx, opts...)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: %w", l, err)
	}
	// All that we do may be done twice: writes create, and name what they create.
	client.SetRetry(storage.WithPolicy(storage.RetryAlways), storage.WithMaxAttempts(tries),
		storage.WithBackoff(gax.Backoff{Initial: 100 * time.Millisecond, Max: maxBackoff, Multiplier: 2}))
	bucket, err := gcsblob.OpenBucket(ctx, nil, l.Name, &gcsblob.Options{Client: client})
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: %w", l, errors.Join(err, client.Close()))
	}
	b := &gcsStore{bucket: client.Bucket(l.Name), prefix: l.Prefix, kmsKey: l.Set["kms_key"]}
	return &tier.Opened{Bucket: bucket, Backend: b, Close: client.Close}, nil
}

// gcsOptions is what the URL says. What it does not say Google's library finds:
// GOOGLE_APPLICATION_CREDENTIALS, gcloud's own, the machine's account.
func gcsOptions(l *tier.Location) ([]option.ClientOption, error) {
	opts := []option.ClientOption{option.WithScopes(storage.ScopeReadWrite), storage.WithDisabledClientMetrics()}
	endpoint, err := l.Endpoint()
	if err != nil {
		return nil, err
	}
	if endpoint != "" {
		opts = append(opts, option.WithEndpoint(endpoint+"/storage/v1/"))
	}
	anonymous, err := l.Yes("anonymous")
	if err != nil {
		return nil, err
	}
	switch file := l.Set["credentials"]; {
	case anonymous:
		opts = append(opts, option.WithoutAuthentication())
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "object store %s: credentials: %w", l, err)
		}
		var kind struct{ Type string }
		if err := json.Unmarshal(text, &kind); err != nil || kind.Type == "" {
			return nil, mq.Errorf(mq.InvalidConfig, "object store %s: %s is no file with Google's credentials in JSON", l, file)
		}
		opts = append(opts, option.WithAuthCredentialsJSON(option.CredentialsType(kind.Type), text))
	}
	return opts, nil
}

func (b *gcsStore) Put(ctx context.Context, u *tier.Upload) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := b.bucket.Object(b.prefix + u.Key).If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.ContentType, w.KMSKeyName = tier.ContentType, b.kmsKey
	w.CRC32C, w.SendCRC32C = u.CRC, true // or it is refused
	w.ChunkSize = 0                      // one request, out of our memory
	var data io.Reader = bytes.NewReader(u.Data)
	if u.Parts != nil {
		data, w.ChunkSize = u.Parts, int(u.PartBytes) // one after the other, and each is tried again by itself
	}
	_, err := io.Copy(w, data)
	if err != nil {
		cancel() // and not: that was all
	}
	return errors.Join(err, w.Close())
}

func (b *gcsStore) Holds(ctx context.Context, u *tier.Upload) (int64, bool, error) {
	attrs, err := b.bucket.Object(b.prefix + u.Key).Attrs(ctx)
	if err != nil {
		return 0, false, err
	}
	return attrs.Size, attrs.CRC32C == u.CRC, nil
}

// Explain implements [tier.Backend].
func (b *gcsStore) Explain(err error) error {
	var got *googleapi.Error
	if !errors.As(err, &got) {
		return err
	}
	var code string
	if len(got.Errors) > 0 {
		code = got.Errors[0].Reason
	}
	return tier.Answered(err, got.Code, code, "")
}
