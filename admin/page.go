package admin

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

// About is what the node's page says besides how it is.
type About struct {
	Node    string // its number
	Cluster string // its id
	Version string
	Clients string // the address that clients connect to
}

// Neighbour is a node of the cluster, as this one knows it.
type Neighbour struct {
	Node    string
	State   string
	Clients string // the address that clients connect to
}

//go:embed page.html
var pageText string

// page answers with a page for people: what this node is, how it is, and where the rest is to be found. It runs no script and loads nothing.
func page(cfg Config) http.HandlerFunc {
	t := template.Must(template.New("page").Parse(pageText))
	return func(w http.ResponseWriter, _ *http.Request) {
		v := struct {
			About
			Trouble  error
			Notes    []string
			Nodes    []Neighbour
			Profiles bool
		}{About: cfg.About, Trouble: cfg.Ready(), Profiles: cfg.Profiles}
		if cfg.Notes != nil {
			v.Notes = cfg.Notes()
		}
		if cfg.Nodes != nil {
			v.Nodes = cfg.Nodes()
		}
		var b bytes.Buffer
		if err := t.Execute(&b, v); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(b.Bytes()) // who asked may have gone
	}
}
