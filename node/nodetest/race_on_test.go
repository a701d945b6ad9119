//go:build race

package nodetest

// raceEnabled: the race detector slows everything down, and wants every line once rather than every cut.
const raceEnabled = true
