//go:build !rustmq_next_level

package metadata

// FeatureLevel is the highest cluster feature level that this code knows.
const FeatureLevel = currentLevel
