//go:build outside

package tier_test

import (
	"testing"

	"github.com/rustmq/rustmq/tier"
	"github.com/rustmq/rustmq/tier/clouds"
	"github.com/rustmq/rustmq/tier/storetest"
)

// BenchmarkS3Upload and BenchmarkS3Read are BenchmarkUpload and BenchmarkRead on
// a server of S3:
//
//	go test -tags outside ./tier -run - -bench S3 -benchtime 7x
func BenchmarkS3Upload(b *testing.B) { tier.BenchUpload(b, openS3(b)) }

func BenchmarkS3Read(b *testing.B) { tier.BenchRead(b, openS3(b)) }

func openS3(b *testing.B) *tier.Store {
	s, err := tier.OpenStore(b.Context(), storetest.S3(b).URL, tier.Limits{}, clouds.Schemes()...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}
