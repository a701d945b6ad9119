package clouds

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob/s3blob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

const (
	// elsewhere is the region that stores other than Amazon's take.
	elsewhere = "us-east-1"
	// credentialsAge is for how long a file with credentials is not read again.
	credentialsAge = 5 * time.Minute
	// abortTimeout is how long the parts of an upload that failed are tidied up.
	abortTimeout = 10 * time.Second
)

// s3Store writes to a bucket of S3, or of what speaks like it.
type s3Store struct {
	client         *s3.Client
	bucket, prefix string
	sse            s3types.ServerSideEncryption
	kmsKey         *string
	// checksums: the store takes CRC-32C with what it is sent, checks it, and keeps it.
	checksums bool
}

func openS3(ctx context.Context, l *tier.Location) (*tier.Opened, error) {
	b := &s3Store{bucket: l.Name, prefix: l.Prefix, checksums: l.Set["checksums"] != "false"}
	_, err := l.Yes("checksums")
	if err != nil {
		return nil, err
	}
	pathStyle, err := l.Yes("path_style")
	if err != nil {
		return nil, err
	}
	endpoint, err := l.Endpoint()
	if err != nil {
		return nil, err
	}
	if err := b.encryption(l); err != nil {
		return nil, err
	}
	cfg, err := s3Config(ctx, l, endpoint != "")
	if err != nil {
		return nil, err
	}
	b.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = pathStyle
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		if !b.checksums {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}
		// What is read is checked by its own checksums, wherever in an object it lies.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	bucket, err := s3blob.OpenBucket(ctx, b.client, l.Name, &s3blob.Options{EncryptionType: b.sse, KMSEncryptionID: aws.ToString(b.kmsKey)})
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: %w", l, err)
	}
	return &tier.Opened{Bucket: bucket, Backend: b}, nil
}

// encryption takes how objects are encrypted where they lie.
func (b *s3Store) encryption(l *tier.Location) error {
	b.sse = s3types.ServerSideEncryption(l.Set["sse"])
	known := []s3types.ServerSideEncryption{s3types.ServerSideEncryptionAes256, s3types.ServerSideEncryptionAwsKms, s3types.ServerSideEncryptionAwsKmsDsse}
	if b.sse != "" && !slices.Contains(known, b.sse) {
		return mq.Errorf(mq.InvalidConfig, "object store %s: sse is %q: it may be %s, %s or %s", l, b.sse, known[0], known[1], known[2])
	}
	if key := l.Set["kms_key"]; key != "" {
		if !strings.HasPrefix(string(b.sse), "aws:kms") {
			return mq.Errorf(mq.InvalidConfig, "object store %s: a kms_key goes with sse=%s or sse=%s", l, known[1], known[2])
		}
		b.kmsKey = &key
	}
	return nil
}

// s3Config is what the SDK finds in the environment, the files in ~/.aws and the
// machine's role, and what the URL says instead.
func s3Config(ctx context.Context, l *tier.Location, foreign bool) (aws.Config, error) {
	opts := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = tries, maxBackoff })
		}),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = idleConnections, idleConnections
		})),
	}
	if region := l.Set["region"]; region != "" {
		opts = append(opts, config.WithRegion(region))
	}
	switch file, profile := l.Set["credentials"], l.Set["profile"]; {
	case file != "":
		provider := aws.NewCredentialsCache(&s3File{file, cmp.Or(profile, config.DefaultSharedConfigProfile)})
		if _, err := provider.Retrieve(ctx); err != nil {
			return aws.Config{}, mq.Errorf(mq.InvalidConfig, "object store %s: credentials: %w", l, err)
		}
		opts = append(opts, config.WithCredentialsProvider(provider))
	case profile != "":
		opts = append(opts, config.WithSharedConfigProfile(profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return cfg, mq.Errorf(mq.InvalidConfig, "object store %s: %w", l, err)
	}
	if cfg.Region == "" {
		if !foreign && cfg.BaseEndpoint == nil {
			return cfg, mq.Errorf(mq.InvalidConfig, "object store %s: its region is not known: add region=... to the URL, or set AWS_REGION", l)
		}
		cfg.Region = elsewhere
	}
	return cfg, nil
}

// s3File reads credentials from a file like ~/.aws/credentials, again and again:
// they may be replaced there.
type s3File struct{ file, profile string }

// Retrieve implements [aws.CredentialsProvider].
func (f *s3File) Retrieve(ctx context.Context) (aws.Credentials, error) {
	shared, err := config.LoadSharedConfigProfile(ctx, f.profile, func(o *config.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{f.file}, []string{}
	})
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("profile %q of %s: %w", f.profile, f.file, err)
	}
	if !shared.Credentials.HasKeys() {
		return aws.Credentials{}, fmt.Errorf("profile %q of %s has no aws_access_key_id and aws_secret_access_key", f.profile, f.file)
	}
	got := shared.Credentials
	got.CanExpire, got.Expires = true, time.Now().Add(credentialsAge)
	return got, nil
}

func (b *s3Store) Put(ctx context.Context, u *tier.Upload) error {
	if u.Parts != nil {
		return b.putParts(ctx, u)
	}
	in := &s3.PutObjectInput{
		Bucket: &b.bucket, Key: aws.String(b.prefix + u.Key), Body: bytes.NewReader(u.Data), ContentType: aws.String(tier.ContentType),
		IfNoneMatch: aws.String("*"), ServerSideEncryption: b.sse, SSEKMSKeyId: b.kmsKey,
	}
	if b.checksums {
		in.ChecksumCRC32C = s3Sum(u.CRC)
	}
	_, err := b.client.PutObject(ctx, in)
	return err
}

// putParts sends parts beside each other; the object is there when all are.
func (b *s3Store) putParts(ctx context.Context, u *tier.Upload) error {
	in := &transfermanager.UploadObjectInput{
		Bucket: &b.bucket, Key: aws.String(b.prefix + u.Key), Body: u.Parts, ContentLength: aws.Int64(int64(len(u.Data))), ContentType: aws.String(tier.ContentType),
		IfNoneMatch: aws.String("*"), ServerSideEncryption: tmtypes.ServerSideEncryption(b.sse), SSEKMSKeyID: b.kmsKey,
	}
	if b.checksums {
		in.ChecksumCRC32C, in.ChecksumType = s3Sum(u.CRC), tmtypes.ChecksumTypeFullObject
	}
	_, err := transfermanager.New(b.client, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = u.PartBytes, u.PartBytes, tier.PartsAtOnce
		o.FailTimeout = abortTimeout
		if b.checksums {
			o.ChecksumAlgorithm = tmtypes.ChecksumAlgorithmCrc32c
		} else {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		}
	}).UploadObject(ctx, in)
	return err
}

func (b *s3Store) Holds(ctx context.Context, u *tier.Upload) (int64, bool, error) {
	got, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: aws.String(b.prefix + u.Key), ChecksumMode: s3types.ChecksumModeEnabled})
	if err != nil {
		return 0, false, err
	}
	size := aws.ToInt64(got.ContentLength)
	if sum := aws.ToString(got.ChecksumCRC32C); sum != "" && got.ChecksumType != s3types.ChecksumTypeComposite {
		return size, sum == *s3Sum(u.CRC), nil
	}
	// An ETag may be the MD5. Where it is not, as of parts and under some encryption, it is not the same.
	return size, strings.Trim(aws.ToString(got.ETag), `"`) == hex.EncodeToString(u.MD5()), nil
}

// Explain implements [tier.Backend].
func (b *s3Store) Explain(err error) error {
	var status interface{ HTTPStatusCode() int }
	if !errors.As(err, &status) || status.HTTPStatusCode() == 0 {
		return err
	}
	var code string
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	return tier.Answered(err, status.HTTPStatusCode(), code, "")
}

// s3Sum is a CRC-32C as S3 writes it.
func s3Sum(crc uint32) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)))
}
