package pki

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

var cluster = subject.Cluster

func authority(t *testing.T, cluster mq.ClusterID, at time.Time) *Authority {
	t.Helper()
	a, err := NewAuthority(filepath.Join(t.TempDir(), "ca"), cluster, at)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issued is the identity of a node whose certificate was issued at a time.
func issued(t *testing.T, a *Authority, node mq.NodeID, at time.Time) *Identity {
	t.Helper()
	dir := t.TempDir()
	if _, err := a.Issue(dir, node, []string{"localhost", "127.0.0.1"}, false, at); err != nil {
		t.Fatal(err)
	}
	return open(t, dir, Subject{Cluster: a.Cluster(), Node: node}, at)
}

func TestAuthorityThatIsOpenedAgainIssuesForItsCluster(t *testing.T) {
	made := authority(t, cluster, now)
	a, err := OpenAuthority(made.dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cluster() != cluster || a.Fingerprint() != made.Fingerprint() {
		t.Fatalf("cluster %s, authority %s", a.Cluster(), a.Fingerprint())
	}
	out := filepath.Join(t.TempDir(), "node", "pki")
	if _, err := a.Issue(out, 3, []string{"broker.example", "10.0.0.3"}, false, now); err != nil {
		t.Fatal(err)
	}
	s, found, err := ReadSubject(out)
	if err != nil || !found || s.Cluster != cluster || s.Node != 3 {
		t.Fatalf("%+v, %v, %v", s, found, err)
	}
	id := open(t, out, Subject{Cluster: cluster, Node: 3, Hosts: []string{"broker.example", "10.0.0.3", "other.example"}}, now)
	if id.Issues() || strings.Join(id.Lacks(), " ") != "other.example" {
		t.Errorf("issues: %v, lacks %q", id.Issues(), id.Lacks())
	}
	for name, mode := range map[string]os.FileMode{nodeKeyFile: 0o600, nodeCertFile: 0o644, CACertFile: 0o644} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info.Mode(), err, mode)
		}
	}
	if _, err := os.Stat(filepath.Join(out, caKeyFile)); err == nil {
		t.Error("the authority's key left its directory")
	}
}

func TestAuthorityIsNotMadeOverAnything(t *testing.T) {
	a := authority(t, cluster, now)
	if _, err := NewAuthority(a.dir, cluster, now); mq.CodeOf(err) != mq.WrongDataDir || !strings.Contains(err.Error(), a.dir) {
		t.Errorf("a second one: %v", err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := NewAuthority(open, cluster, now); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("where everybody may write: %v", err)
	}
}

func TestOnlyACertificateOfTheSameNodeIsReplacedWhenAskedFor(t *testing.T) {
	a, other := authority(t, cluster, now), authority(t, mq.ClusterID{9}, now)
	out := t.TempDir()
	issue := func(a *Authority, node mq.NodeID, renew bool) error {
		_, err := a.Issue(out, node, nil, renew, now.Add(time.Minute))
		return err
	}
	if err := issue(a, 3, true); err != nil {
		t.Fatal(err)
	}
	id := open(t, out, Subject{Cluster: cluster, Node: 3}, now)
	for name, err := range map[string]error{
		"again": issue(a, 3, false), "for another node": issue(a, 4, true), "by another cluster's authority": issue(other, 3, true),
	} {
		if mq.CodeOf(err) != mq.WrongDataDir {
			t.Errorf("%s: %v, want WrongDataDir", name, err)
		}
	}
	if changed, err := id.Refresh(now); err != nil || changed {
		t.Errorf("a refusal changed the certificate: %v, %v", changed, err)
	}
	if err := issue(a, 3, true); err != nil {
		t.Fatal(err)
	}
	before := id.certificate()
	if changed, err := id.Refresh(now); err != nil || !changed {
		t.Fatalf("the new certificate was not taken up: %v, %v", changed, err)
	}
	if id.certificate().Leaf.Equal(before.Leaf) {
		t.Error("handshakes show the old certificate")
	}
}

func TestRefreshRenewsWhereTheAuthorityIs(t *testing.T) {
	id := open(t, t.TempDir(), subject, now)
	if changed, err := id.Refresh(now.Add(time.Hour)); changed || err != nil {
		t.Fatalf("a good certificate was replaced: %v", err)
	}
	end := id.NotAfter()
	if changed, err := id.Refresh(end.Add(-renewBefore + time.Hour)); !changed || err != nil || !id.NotAfter().After(end) {
		t.Fatalf("changed %v, %v, ends %v", changed, err, id.NotAfter())
	}
	remove(t, id.dir, nodeCertFile)
	remove(t, id.dir, caKeyFile)
	id.ca.key = nil
	before := id.certificate()
	if _, err := id.Refresh(now); err == nil || id.certificate().Leaf != before.Leaf {
		t.Errorf("without files: %v, or the certificate is gone", err)
	}
}

func TestKeysThatOthersMayReadAreRefused(t *testing.T) {
	a := authority(t, cluster, now)
	id := issued(t, a, 3, now)
	for path, use := range map[string]func() error{
		filepath.Join(a.dir, caKeyFile): func() error { _, err := OpenAuthority(a.dir, now); return err },
		filepath.Join(id.dir, nodeKeyFile): func() error {
			_, err := Open(id.dir, id.subject, now)
			return err
		},
	} {
		for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o660: false, 0o604: false} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if err := use(); (err == nil) != good || !good && !strings.Contains(err.Error(), path) {
				t.Errorf("%s with mode %o: %v", filepath.Base(path), mode, err)
			}
		}
	}
}

func TestAuthorityRefusesNodesAndHostsThatCannotBe(t *testing.T) {
	a := authority(t, cluster, now)
	for name, try := range map[string]struct {
		node  mq.NodeID
		hosts []string
	}{
		"node 0":        {0, nil},
		"negative":      {-1, nil},
		"a port":        {1, []string{"host:9092"}},
		"an empty host": {1, []string{""}},
		"a URL":         {1, []string{"https://host/"}},
		"a wildcard":    {1, []string{"*.example"}},
		"a long host":   {1, []string{strings.Repeat("a.", 200) + "b"}},
		"many hosts":    {1, make([]string, MaxHosts+1)},
	} {
		out := t.TempDir()
		if _, err := a.Issue(out, try.node, try.hosts, false, now); mq.CodeOf(err) != mq.InvalidRequest {
			t.Errorf("%s: %v, want InvalidRequest", name, err)
		}
		if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", name, left, err)
		}
	}
	if _, err := OpenAuthority(a.dir, a.NotAfter().Add(time.Hour)); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("an authority that has ended: %v", err)
	}
}

func TestSubjectOfADirectory(t *testing.T) {
	if _, found, err := ReadSubject(filepath.Join(t.TempDir(), "none")); found || err != nil {
		t.Errorf("nothing there: %v, %v", found, err)
	}
	a := authority(t, cluster, now)
	if s, found, err := ReadSubject(a.dir); !found || err != nil || s.Cluster != cluster || s.Node != 0 {
		t.Errorf("of an authority: %+v, %v, %v", s, found, err)
	}
	if _, err := Open(a.dir, Subject{Cluster: mq.ClusterID{9}, Node: 1}, now); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("opened for another cluster than its authority's: %v", err)
	}
	id, stranger := issued(t, a, 3, now), authority(t, cluster, now)
	if err := writeFile(filepath.Join(id.dir, CACertFile), certType, stranger.cert.Raw, certMode); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(id.dir, id.subject, now); mq.CodeOf(err) != mq.WrongDataDir {
		t.Errorf("beside another authority: %v", err)
	}
}
