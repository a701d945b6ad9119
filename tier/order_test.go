package tier

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/tier/faultstore"
)

// journey is how far one object has come.
type journey struct {
	r                                    *rig
	written, looked, readBack, committed int
	failing                              atomic.Pointer[string] // the step that fails, "" for none
}

// step notes the begin of a step of the object's, and says whether it fails.
func (j *journey) step(name string, count *int) error {
	*count++
	if *j.failing.Load() == name {
		return errors.New("it fails")
	}
	return nil
}

// follow sees to it that each step begins when the one before it has succeeded.
func (j *journey) follow() {
	t := j.r.t
	j.r.store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		stored := len(j.r.store.Keys()) > 0
		if j.committed > 0 || len(j.r.sources[0].verdicts) > 0 {
			t.Errorf("%s after the commit or the release", op.Kind)
		}
		switch op.Kind {
		case faultstore.Write:
			f.Before = j.step("upload", &j.written)
		case faultstore.Attributes:
			if !stored {
				t.Error("verified before it was uploaded")
			}
			f.Before = j.step("look", &j.looked)
		case faultstore.Read:
			if !stored {
				t.Error("read back before it was uploaded")
			}
			f.Before = j.step("read back", &j.readBack)
		}
		return f
	})
	j.r.catalog.fault = func(op string) (before, after error) {
		if op != "commit" {
			return nil, nil
		}
		if len(j.r.store.Keys()) == 0 || j.looked == 0 || j.readBack == 0 && j.r.store.NoMD5 || *j.failing.Load() == "look" || *j.failing.Load() == "read back" {
			t.Error("committed before it was uploaded and verified")
		}
		if len(j.r.sources[0].verdicts) > 0 {
			t.Error("released before it was committed")
		}
		return j.step("commit", &j.committed), nil
	}
}

// TestObjectIsUploadedVerifiedCommittedAndReleasedInThisOrder has each step fail for a while: what comes behind it waits.
func TestObjectIsUploadedVerifiedCommittedAndReleasedInThisOrder(t *testing.T) {
	for _, noMD5 := range []bool{false, true} {
		for _, failing := range []string{"", "upload", "look", "read back", "commit"} {
			if failing == "read back" && !noMD5 {
				continue // the store's own sum is enough
			}
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1)
				r.store.NoMD5 = noMD5
				j := &journey{r: r}
				j.failing.Store(&failing)
				j.follow()
				defer r.start(nil).Close()
				r.append(0, value(1))
				if failing != "" {
					time.Sleep(time.Minute)
					synctest.Wait()
					if got := r.sources[0].tieredEnd(); got != 0 || r.catalog.tieredEnd(r.sources[0].id) != 0 {
						t.Errorf("%s fails, and up to %d was released", failing, got)
					}
					j.failing.Store(new(string))
					time.Sleep(time.Minute)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := r.up.Flush(ctx); err != nil {
					t.Fatalf("%s: %v", failing, err)
				}
				synctest.Wait()
				if j.written == 0 || j.looked == 0 || j.committed == 0 || len(r.sources[0].verdicts) != 1 {
					t.Errorf("%s: %d written, %d looked at, %d committed, verdicts %v", failing, j.written, j.looked, j.committed, r.sources[0].verdicts)
				}
				r.catalog.fault = nil
				r.checkAll()
			})
		}
	}
}

// TestTroubleOfTheCatalogueIsNotAbsence: who cannot ask what there is has not heard that there is nothing.
func TestTroubleOfTheCatalogueIsNotAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 9, 2, 40, 3000, nil)
		defer s.reader.Close()
		s.catalog.fault = func(string) (error, error) { return errors.New("no leader"), nil }
		if _, _, err := s.reader.Read(t.Context(), shelfPartition, 0, 1); mq.CodeOf(err) != mq.NotController {
			t.Errorf("read: %v", err)
		}
		if at, _, found, err := s.reader.OffsetByTime(t.Context(), shelfPartition, 0, 0); mq.CodeOf(err) != mq.NotController {
			t.Errorf("by time: %d, %t, %v", at, found, err)
		}
		s.catalog.mu.Lock()
		s.catalog.fault = nil
		s.catalog.mu.Unlock()
		s.store.SetHook(func(faultstore.Op) faultstore.Fault { return faultstore.Fault{Before: errors.New("SlowDown")} })
		if at, _, found, err := s.reader.OffsetByTime(t.Context(), shelfPartition, 0, 0); mq.CodeOf(err) != mq.ObjectStoreUnavailable {
			t.Errorf("by time: %d, %t, %v", at, found, err)
		}
		s.store.SetHook(nil)
		if all, end := readAll(t, s.reader, shelfPartition, 0, s.end); end != s.end || len(all) != len(s.log) {
			t.Errorf("%d bytes up to %d when all is well again", len(all), end)
		}
	})
}
