package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// refuseBrowsers refuses requests of pages: those of another origin, and those that came by a name. Whoever owns a name can have it point here once his page is loaded, which
// makes the page one of this origin; addresses and localhost are nobody's. A browser sends its page's origin with all that is not a GET, and nobody else does.
func refuseBrowsers(next http.Handler) http.Handler {
	named := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" && !fixedHost(r.Host) {
			http.Error(w, "a page of a browser reaches this by an address or by localhost only, not by a name, which could be made to point here", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
	return http.NewCrossOriginProtection().Handler(named)
}

// fixedHost says that what a host, with a port or without, stands for is up to nobody.
func fixedHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
