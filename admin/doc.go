// Package admin is the HTTP listener for operators and their machines: health,
// metrics, and a page that leads there. HTTP/1.1 and, without TLS too, HTTP/2.
//
//	GET /         a page for people: which node this is, how it is, and the paths below
//	GET /livez    200 while the process works at all; 503 when it should be restarted
//	GET /readyz   200 when the node serves clients; 503 with the reason otherwise
//	GET /metrics  Prometheus' text format
//
//	/rustmq.v1.*  the public services, which others bring (see package gateway)
//
//	GET /debug/pprof/  the Go runtime's profiles, if the configuration allows it
//
// # What it does not do
//
// It decides nothing and changes nothing, and it knows no other package: whoever
// starts it says what alive and ready mean, which metrics there are, and what
// else is served.
//
// # Invariants
//
//  1. A request costs bounded time and memory whoever sends it; a profile is
//     the exception, which is why there are none by default.
//  2. No answer holds a secret or a record.
package admin
