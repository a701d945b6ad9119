package clouds

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
)

func open(t *testing.T, url string) *tier.Store {
	t.Helper()
	s, err := tier.OpenStore(t.Context(), url, tier.Limits{}, Schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWhatIsWrongWithAURL opens stores that cannot be meant.
func TestWhatIsWrongWithAURL(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGEBLOB_CONNECTIONSTRING"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	secret := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"s3://":                                 "s3://BUCKET",
		"s3://b":                                "region",
		"s3://b?region=r&path_style=perhaps":    "true or false",
		"s3://b?region=r&endpoint=ftp://h":      "endpoint",
		"s3://b?region=r&endpoint=http://u@h":   "endpoint",
		"s3://b?region=r&sse=none":              "AES256, aws:kms",
		"s3://b?region=r&kms_key=k":             "sse=aws:kms",
		"s3://b?region=r&credentials=/no/file":  "/no/file",
		"s3://b?region=r&credentials=" + secret: "credentials",
		"gs://b?credentials=" + secret:          "JSON",
		"gs://b?credentials=/no/file":           "/no/file",
		"azblob://c":                            "account",
		"azblob://c?credentials=" + secret:      "connection string",
		"azblob://c?sas=hush":                   "known are prefix, account",
	} {
		_, err := tier.OpenStore(t.Context(), url, tier.Limits{}, Schemes()...)
		if mq.CodeOf(err) != mq.InvalidConfig || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// cloudURLs are stores of each cloud, all at one server of ours, with credentials.
func cloudURLs(t *testing.T, server string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return url.QueryEscape(path)
	}
	at := url.QueryEscape(server)
	return map[string]string{
		"s3":     "s3://b?path_style=true&endpoint=" + at + "&credentials=" + file("s3", "[default]\naws_access_key_id=id\naws_secret_access_key=hush\n"),
		"gs":     "gs://b?anonymous=true&endpoint=" + at,
		"azblob": "azblob://b?credentials=" + file("azure", "AccountName=a;AccountKey=aHVzaA==;BlobEndpoint="+server+"/a;"),
		"sas":    "azblob://b?credentials=" + file("sas", "BlobEndpoint="+server+"/a;SharedAccessSignature=sv=1&sig=hush"),
	}
}

// TestThrottlingIsTriedAgainAndDenialNamed has a server refuse for the moment, then for good.
func TestThrottlingIsTriedAgainAndDenialNamed(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	for name, url := range cloudURLs(t, server.URL) {
		t.Run(name, func(t *testing.T) {
			requests.Store(0)
			s := open(t, url)
			defer s.Close()
			_, err := s.Stat(t.Context(), "k")
			if mq.CodeOf(err) != mq.ObjectStoreUnavailable || errors.Is(err, tier.ErrAbsent) || !strings.Contains(err.Error(), "access denied") {
				t.Errorf("%v", err)
			}
			if requests.Load() != 2 || s.Stats().Denied != 1 {
				t.Errorf("%d requests, %+v", requests.Load(), s.Stats())
			}
			if text := err.Error(); strings.Contains(text, "hush") || strings.Contains(text, "\n") {
				t.Errorf("%q", text)
			}
		})
	}
}
