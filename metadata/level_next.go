//go:build rustmq_next_level

package metadata

// FeatureLevel claims to know the level after this code's own: for tests of a rolling upgrade, testdata/e2e/rolling-upgrade.sh. No other build has
// this tag.
const FeatureLevel = currentLevel + 1
