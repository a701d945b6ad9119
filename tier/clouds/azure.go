package clouds

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	azureblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	cdkazure "gocloud.dev/blob/azureblob"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

// azureStore writes to a container of Azure Blob Storage.
type azureStore struct {
	client *container.Client
	prefix string
	scope  *azureblob.CPKScopeInfo
}

func openAzure(ctx context.Context, l *tier.Location) (*tier.Opened, error) {
	client, err := azureClient(l)
	if err != nil {
		if mq.CodeOf(err) != mq.InvalidConfig {
			err = mq.Errorf(mq.InvalidConfig, "object store %s: %w", l, err)
		}
		return nil, err
	}
	bucket, err := cdkazure.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, mq.Errorf(mq.InvalidConfig, "object store %s: %w", l, err)
	}
	b := &azureStore{client: client, prefix: l.Prefix}
	if scope := l.Set["encryption_scope"]; scope != "" {
		b.scope = &azureblob.CPKScopeInfo{EncryptionScope: &scope}
	}
	return &tier.Opened{Bucket: bucket, Backend: b}, nil
}

// azureClient is one with the credentials of a file, else those of the
// environment, else those that Azure's library finds: a workload's or managed
// identity, what az login left.
func azureClient(l *tier.Location) (*container.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleConnections, idleConnections
	opts := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:     policy.RetryOptions{MaxRetries: tries - 1, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: maxBackoff},
		Transport: &http.Client{Transport: transport},
	}}
	connection := cmp.Or(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"), os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING"))
	if file := l.Set["credentials"]; file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		connection = strings.TrimSpace(string(text))
	}
	if connection != "" {
		client, err := container.NewClientFromConnectionString(connection, l.Name, opts)
		if err != nil { // which may quote it
			return nil, mq.Errorf(mq.InvalidConfig, "object store %s: what should be a connection string is none: it looks like AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net", l)
		}
		return client, nil
	}
	account := cmp.Or(l.Set["account"], os.Getenv("AZURE_STORAGE_ACCOUNT"))
	endpoint, err := l.Endpoint()
	if err != nil {
		return nil, err
	}
	if endpoint == "" {
		if account == "" {
			return nil, mq.Errorf(mq.InvalidConfig, "object store %s: its account is not known: add account=... to the URL, or set AZURE_STORAGE_ACCOUNT", l)
		}
		endpoint = "https://" + account + ".blob.core.windows.net"
	}
	at, err := url.JoinPath(endpoint, l.Name)
	if err != nil {
		return nil, err
	}
	if key := os.Getenv("AZURE_STORAGE_KEY"); key != "" {
		cred, err := container.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, mq.Errorf(mq.InvalidConfig, "object store %s: AZURE_STORAGE_KEY is no key", l)
		}
		return container.NewClientWithSharedKeyCredential(at, cred, opts)
	}
	if token := os.Getenv("AZURE_STORAGE_SAS_TOKEN"); token != "" {
		return container.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(token, "?"), opts)
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(at, cred, opts)
}

// put has the store check an MD5 of what is sent by one request, and a CRC-64 of
// each part.
func (b *azureStore) Put(ctx context.Context, u *tier.Upload) error {
	client := b.client.NewBlockBlobClient(b.prefix + u.Key)
	sum, kind, anything := u.MD5(), tier.ContentType, azcore.ETagAny
	headers := &azureblob.HTTPHeaders{BlobContentType: &kind, BlobContentMD5: sum}
	create := &azureblob.AccessConditions{ModifiedAccessConditions: &azureblob.ModifiedAccessConditions{IfNoneMatch: &anything}}
	if u.Parts == nil {
		_, err := client.Upload(ctx, streaming.NopCloser(bytes.NewReader(u.Data)), &blockblob.UploadOptions{
			TransactionalValidation: azureblob.TransferValidationTypeMD5(sum), HTTPHeaders: headers, CPKScopeInfo: b.scope, AccessConditions: create,
		})
		return err
	}
	_, err := client.UploadStream(ctx, u.Parts, &blockblob.UploadStreamOptions{
		BlockSize: u.PartBytes, Concurrency: tier.PartsAtOnce, TransactionalValidation: azureblob.TransferValidationTypeComputeCRC64(),
		HTTPHeaders: headers, CPKScopeInfo: b.scope, AccessConditions: create,
	})
	return err
}

// holds takes the object's MD5 for its word. That of an object in parts is what we
// said of it, and each of its parts was checked when it arrived.
func (b *azureStore) Holds(ctx context.Context, u *tier.Upload) (int64, bool, error) {
	got, err := b.client.NewBlobClient(b.prefix+u.Key).GetProperties(ctx, nil)
	if err != nil || got.ContentLength == nil {
		return 0, false, err
	}
	return *got.ContentLength, bytes.Equal(got.ContentMD5, u.MD5()), nil
}

// Explain implements [tier.Backend]: the text of an answer is a page.
func (b *azureStore) Explain(err error) error {
	var got *azcore.ResponseError
	if errors.As(err, &got) {
		return tier.Answered(err, got.StatusCode, got.ErrorCode, got.Error())
	}
	if errors.As(err, new(*azidentity.AuthenticationFailedError)) {
		return tier.Answered(err, http.StatusUnauthorized, "AuthenticationFailed", "")
	}
	return err
}
