package storetest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// Bucket is the name of the one bucket of each server.
const Bucket = "bucket"

// Server is one that answers.
type Server struct {
	// URL opens the bucket, credentials included, as a file.
	URL string
	// Elsewhere opens a bucket that is not there, Foreign the bucket as somebody
	// whom the server does not know; "" where the server lets everybody in.
	Elsewhere, Foreign string
	// Stop ends the server at once; Start has it answer again at the same place,
	// with what it keeps on its disk.
	Stop, Start func()
}

// startTimeout is for a server on a busy machine.
const startTimeout = time.Minute

// S3 starts versitygw, on a directory.
func S3(t testing.TB) *Server {
	t.Helper()
	dir, addr := t.TempDir(), freeAddr(t)
	mkdir(t, filepath.Join(dir, "objects", Bucket))
	known := write(t, filepath.Join(dir, "credentials"), "[default]\naws_access_key_id = tester\naws_secret_access_key = hush-hush\n")
	unknown := write(t, filepath.Join(dir, "foreign"), "[default]\naws_access_key_id = tester\naws_secret_access_key = hush\n")
	s := process(t, addr, func() *exec.Cmd {
		return exec.Command("versitygw", "--port", addr, "--access", "tester", "--secret", "hush-hush", "--quiet", "posix", filepath.Join(dir, "objects"))
	})
	query := "?path_style=true&endpoint=" + url.QueryEscape("http://"+addr) + "&credentials="
	s.URL = "s3://" + Bucket + query + url.QueryEscape(known)
	s.Elsewhere = "s3://nowhere" + query + url.QueryEscape(known)
	s.Foreign = "s3://" + Bucket + query + url.QueryEscape(unknown)
	return s
}

// GCS starts fake-gcs-server, in memory.
func GCS(t testing.TB) *Server {
	t.Helper()
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	s := process(t, addr, func() *exec.Cmd {
		return exec.Command("fake-gcs-server", "-scheme", "http", "-host", host, "-port", port, "-public-host", addr, "-backend", "memory", "-log-level", "error")
	})
	answer, err := http.Post("http://"+addr+"/storage/v1/b?project=p", "application/json", strings.NewReader(`{"name":"`+Bucket+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("make a bucket: %s", answer.Status)
	}
	query := "?anonymous=true&endpoint=" + url.QueryEscape("http://"+addr)
	s.URL, s.Elsewhere = "gs://"+Bucket+query, "gs://nowhere"+query
	return s
}

// Azure starts Azurite, on a directory.
func Azure(t testing.TB) *Server {
	t.Helper()
	dir, addr := t.TempDir(), freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	s := process(t, addr, func() *exec.Cmd {
		return exec.Command("azurite-blob", "--blobHost", host, "--blobPort", port, "--location", dir, "--skipApiVersionCheck", "--silent", "--disableTelemetry")
	})
	// The account that every Azurite has.
	const right = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	wrong := strings.Replace(right, "Eby8", "Eby9", 1)
	text := "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=" + right + ";BlobEndpoint=http://" + addr + "/devstoreaccount1;"
	client, err := container.NewClientFromConnectionString(text, Bucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	known := "?credentials=" + url.QueryEscape(write(t, filepath.Join(dir, "credentials"), text))
	s.URL, s.Elsewhere = "azblob://"+Bucket+known, "azblob://nowhere"+known
	s.Foreign = "azblob://" + Bucket + "?credentials=" + url.QueryEscape(write(t, filepath.Join(dir, "foreign"), strings.Replace(text, right, wrong, 1)))
	return s
}

// process starts a server that is to listen at addr, and ends it with the test.
func process(t testing.TB, addr string, command func() *exec.Cmd) *Server {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	var running *exec.Cmd
	s := &Server{}
	s.Stop = func() {
		if running != nil {
			_ = running.Process.Kill()
			_ = running.Wait()
			running = nil
		}
	}
	s.Start = func() {
		t.Helper()
		out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		running = command()
		running.Stdout, running.Stderr = out, out
		if err := running.Start(); err != nil {
			running = nil
			t.Fatalf("%v: .ci/outside installs it", err)
		}
		if err := listens(addr); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.Stop()
		if text, err := os.ReadFile(log); err == nil && t.Failed() && len(text) > 0 {
			t.Logf("what the server said:\n%s", text[max(0, len(text)-4000):])
		}
	})
	s.Start()
	return s
}

// listens waits until somebody does.
func listens(addr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// freeAddr is one on loopback that nobody listens at.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
