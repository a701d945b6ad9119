package tier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// TestAnswersAreToldApart is about the words of the clouds.
func TestAnswersAreToldApart(t *testing.T) {
	for _, a := range []struct {
		status int
		code   string
		want   trouble
	}{
		{503, "SlowDown", troubleThrottled},
		{503, "ServerBusy", troubleThrottled},
		{429, "", troubleThrottled},
		{403, "rateLimitExceeded", troubleThrottled},
		{403, "AccessDenied", troubleDenied},
		{403, "SignatureDoesNotMatch", troubleDenied},
		{401, "", troubleDenied},
		{404, "NoSuchKey", troubleAbsent},
		{404, "NoSuchBucket", troubleAbsent},
		{404, "NoSuchUpload", troubleOther},
		{412, "PreconditionFailed", troubleExists},
		{409, "BlobAlreadyExists", troubleExists},
		{409, "ConditionalRequestConflict", troubleOther}, // two at once: to be tried again
		{301, "PermanentRedirect", troubleOther},
		{500, "InternalError", troubleOther},
	} {
		if got := troubleOfAnswer(a.status, a.code); got != a.want {
			t.Errorf("%d %s is trouble %d, not %d", a.status, a.code, got, a.want)
		}
	}
}

// TestErrorsShowNoSecret quotes a URL, as Go's errors of connections do, and an answer that is a page.
func TestErrorsShowNoSecret(t *testing.T) {
	err := Answered(errors.New("Head \"http://h/a/b/k?sv=1&sig=hush%3D&se=2\":\nRESPONSE 403\n---\nERROR"), 403, "Forbidden", "RESPONSE 403\n---\nERROR")
	got := storeError(t.Context(), fmt.Errorf("ask: %w", err), "verify")
	if text := got.Error(); !strings.Contains(text, `access denied: ask: Head "http://h/a/b/k?sv=1&sig=...&se=2": the store answers 403 Forbidden`) {
		t.Errorf("%q", text)
	}
}

// TestProbeNamesWhatIsRefused denies one operation after the other.
func TestProbeNamesWhatIsRefused(t *testing.T) {
	for kind, step := range map[faultstore.Kind]string{faultstore.Write: "write", faultstore.Read: "read", faultstore.List: "list", faultstore.Delete: "delete"} {
		fs := faultstore.New()
		s := NewStore(fs.Bucket(), Limits{})
		s.name = "s3://b"
		fs.SetHook(func(op faultstore.Op) faultstore.Fault {
			if op.Kind == kind {
				return faultstore.Fault{Before: faultstore.Denied()}
			}
			return faultstore.Fault{}
		})
		report := s.Probe(t.Context(), "c/")
		err := report.Err()
		if mq.CodeOf(err) != mq.ObjectStoreUnavailable || !report.Denied() || !strings.Contains(err.Error(), "refuses to "+step) || !strings.Contains(err.Error(), needs["s3"][step]) {
			t.Errorf("%s: %v", kind, err)
		}
		if strings.Count(err.Error(), "access denied") != 1 {
			t.Errorf("%v", err)
		}
	}
	fs := faultstore.New()
	fs.SetHook(func(faultstore.Op) faultstore.Fault { return faultstore.Fault{Before: faultstore.ErrConnection} })
	if report := NewStore(fs.Bucket(), Limits{}).Probe(t.Context(), ""); report.Err() == nil || report.Denied() || !report.Steps[1].Skipped {
		t.Errorf("%+v", report)
	}
	// A store that overwrites what is there.
	over := NewStore(faultstore.New().Bucket(), Limits{})
	over.backend = overwrites{over.backend}
	if err := over.Probe(t.Context(), "").Err(); err == nil || !strings.Contains(err.Error(), "If-None-Match") {
		t.Errorf("%v", err)
	}
}

// overwrites is a store that ignores conditions.
type overwrites struct{ Backend }

func (b overwrites) Put(ctx context.Context, u *Upload) error {
	err := b.Backend.Put(ctx, u)
	if troubleOf(err) == troubleExists {
		return nil
	}
	return err
}
