//go:build outside

package tier_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
	"github.com/rustmq/rustmq/tier/storetest"
)

// leastPart is what S3 takes for a part.
const leastPart = 5 << 20

func open(t *testing.T, url string, limits tier.Limits) *tier.Store {
	t.Helper()
	s, err := tier.OpenStore(t.Context(), url, limits, clouds.Schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestS3Conforms, TestGCSConforms and TestAzureConforms hold the stores of the
// clouds to what all stores have in common, by a server of each kind.
func TestS3Conforms(t *testing.T) { cloudConforms(t, storetest.S3(t)) }

func TestGCSConforms(t *testing.T) { cloudConforms(t, storetest.GCS(t)) }

func TestAzureConforms(t *testing.T) { cloudConforms(t, storetest.Azure(t)) }

func cloudConforms(t *testing.T, server *storetest.Server) {
	tier.Conform(t, leastPart, func(prefix string, limits tier.Limits) *tier.Store {
		return open(t, server.URL+"&prefix="+prefix, limits)
	})
	t.Run("a node's whole way", func(t *testing.T) {
		s := open(t, server.URL+"&prefix=way/", tier.Limits{})
		defer s.Close()
		tier.UploadAndRead(t, s)
	})
	t.Run("an upload is not read back", func(t *testing.T) {
		s := open(t, server.URL+"&prefix=sum/", tier.Limits{PartBytes: leastPart})
		defer s.Close()
		tier.MustPut(t, s, "small", 1000)
		tier.MustPut(t, s, "large", 4*5<<20+13)
		if down := s.Stats().Classes[tier.ClassBackground].Downloaded; down != 0 {
			t.Errorf("%d bytes were read to verify what the store has checksums of", down)
		}
	})
	t.Run("a bucket that is not there holds nothing, and lacks nothing", func(t *testing.T) { refuses(t, server.Elsewhere, false) })
	if server.Foreign != "" {
		t.Run("who is not known is refused, and told so", func(t *testing.T) { refuses(t, server.Foreign, true) })
	}
	t.Run("a server that is away", func(t *testing.T) { isAway(t, server) })
}

// refuses tries a store that refuses everything.
func refuses(t *testing.T, url string, denied bool) {
	s := open(t, url, tier.Limits{})
	defer s.Close()
	_, statErr := s.Stat(t.Context(), "k")
	_, openErr := s.Open(t.Context(), "k", 0, 1)
	report := s.Probe(t.Context(), "c/")
	for _, err := range []error{
		statErr, openErr, s.Delete(t.Context(), "k"), s.Put(t.Context(), "k", []byte("v"), tier.Checksum([]byte("v"))),
		s.List(t.Context(), "", func(tier.Info) error { return nil }), report.Err(),
	} {
		if mq.CodeOf(err) != mq.ObjectStoreUnavailable || errors.Is(err, tier.ErrAbsent) || errors.Is(err, tier.ErrOther) {
			t.Errorf("%v", err)
			continue
		}
		if text := err.Error(); denied != strings.Contains(text, "access denied") || strings.Contains(text, "hush") || strings.Contains(text, "\n") {
			t.Errorf("%s", text)
		}
	}
	if report.Denied() != denied || denied && !strings.Contains(report.Err().Error(), "permission") {
		t.Errorf("%v", report.Err())
	}
	t.Logf("%v", report.Err())
}

// isAway asks a server that does not run, then one that does again.
func isAway(t *testing.T, server *storetest.Server) {
	server.Stop()
	s := open(t, server.URL+"&prefix=away/", tier.Limits{Timeout: time.Second})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, statErr := s.Stat(ctx, "k")
	for _, err := range []error{statErr, s.Put(ctx, "k", []byte("v"), tier.Checksum([]byte("v"))), s.Probe(ctx, "c/").Err()} {
		if mq.CodeOf(err) != mq.ObjectStoreUnavailable || errors.Is(err, tier.ErrAbsent) || strings.Contains(err.Error(), "access denied") {
			t.Errorf("%v", err)
		}
	}
}
