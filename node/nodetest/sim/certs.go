package sim

import (
	"path/filepath"
	"strconv"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

// machinesAtMost are in a cluster.
const machinesAtMost = 6

// Certs are the certificates of all machines. Nothing is written to them in a run, so any number of runs may share them.
type Certs struct {
	base string
	ca   string // file with the authority's certificate
}

// NewCerts issues them in a directory of the machine. now is the time at which bubbles begin.
func NewCerts(base string, now time.Time) (*Certs, error) {
	authority, err := pki.NewAuthority(filepath.Join(base, "ca"), mq.ClusterID{0: 0xc1}, now)
	if err != nil {
		return nil, err
	}
	c := &Certs{base: base, ca: authority.CAFile()}
	for id := 1; id <= machinesAtMost; id++ {
		if _, err := authority.Issue(c.dir(id), mq.NodeID(id), []string{addrOf(id).String()}, false, now); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Certs) dir(machine int) string { return filepath.Join(c.base, strconv.Itoa(machine)) }
