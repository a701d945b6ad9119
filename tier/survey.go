package tier

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rustmq/rustmq/mq"
)

// surveyReads is how many footers a survey reads at once.
const surveyReads = 16

// Survey looks at all objects below prefix (as [UploaderConfig] has it) whose ids wanted says yes to, and gives visit the ranges that their footers name, object by
// object, one call at a time, in no order, without the producers' state: see [FillStates]. It reads their footers, and no batches.
//
// An object whose footer is damaged is left out, with a warning; and so is one that is deleted meanwhile. ObjectStoreUnavailable when the store does not tell
// everything: then nothing can be said about what was not visited.
func Survey(ctx context.Context, store *Store, prefix string, logger *slog.Logger, wanted func(id uint64) bool, visit func([]Stray)) error {
	var mu sync.Mutex
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(surveyReads)
	listed := store.List(within, objectsDir(prefix), func(o Info) error {
		id, ok := KeyID(prefix, o.Key)
		if !ok || !wanted(id) {
			return nil
		}
		group.Go(func() error {
			strays, err := straysOf(within, store, o.Key, o.Size)
			switch code := mq.CodeOf(err); {
			case errors.Is(err, ErrAbsent):
				return nil
			case code == mq.Corrupt || code == mq.UnsupportedVersion:
				logger.Warn("an object cannot be looked at", "object", o.Key, "error", err)
				return nil
			case err != nil:
				return err
			}
			for i := range strays {
				strays[i].State = nil // of many there is no room for it
			}
			mu.Lock()
			defer mu.Unlock()
			visit(strays)
			return nil
		})
		return within.Err()
	})
	if err := group.Wait(); err != nil {
		return err // and listed only says that it was ended
	}
	return listed
}

// FillStates gives ranges of one object, as [Survey] found them, the producers' state.
func FillStates(ctx context.Context, store *Store, strays []Stray) error {
	whole, err := straysOf(ctx, store, strays[0].Key, strays[0].Size)
	if err != nil {
		return err
	}
	state := make(map[int64][]byte, len(whole)) // by position
	for i := range whole {
		state[whole[i].Position] = whole[i].State
	}
	for i := range strays {
		strays[i].State = state[strays[i].Position]
	}
	return nil
}

// straysOf are the ranges of one object of size bytes.
func straysOf(ctx context.Context, store *Store, key string, size int64) ([]Stray, error) {
	footer, err := ReadFooter(&storeObject{ctx: ctx, store: store, info: Info{Key: key, Size: size}}, size)
	if err != nil {
		return nil, mq.Wrapf(err, "footer of object %s", key)
	}
	return footer.Strays(key, size), nil
}
