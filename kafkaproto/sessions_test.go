package kafkaproto

import (
	"bytes"
	"encoding/binary"
	"flag"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// mutations is how many sessions are made of those that clients had.
var mutations = flag.Int("mutations", 3000, "how many mutated sessions of clients a test makes")

// captured are sessions that franz-go, sarama, kafka-go and librdkafka had with a cluster, each all that one connection brought, by name: together they have each version of each API that these clients use.
func captured(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/sessions/*")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d sessions, %v", len(files), err)
	}
	sessions := make(map[string][]byte, len(files))
	for _, file := range files {
		if sessions[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return sessions
}

// framesOf takes a session apart.
func framesOf(t testing.TB, session []byte) (frames [][]byte) {
	t.Helper()
	for len(session) > 0 {
		n := 4 + int(binary.BigEndian.Uint32(session))
		if n > len(session) {
			t.Fatalf("a frame of %d bytes, of which %d are there", n, len(session))
		}
		frames = append(frames, session[:n])
		session = session[n:]
	}
	return frames
}

// serveSession has a server read a whole session. Whatever it is, the server comes to its end, holds nothing afterwards, says at most once why, and took memory in proportion to what there was.
func serveSession(t *testing.T, session []byte) (log string) {
	t.Helper()
	broker := newFakeBroker()
	for _, name := range []string{"t", "franz-go-none", "sarama-none", "kafka-go-none", "librdkafka-none"} {
		broker.make(name, 2)
	}
	said := &lines{}
	server, err := New(Config{
		Broker: broker, Plaintext: PlaintextAnywhere, MakeTopics: true, Principal: samePrincipal, Logger: slog.New(slog.NewTextHandler(said, nil)),
		Limits: Limits{RequestBytes: 64 << 10, ProduceBytes: 256 << 10, TopicsMade: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	server.Serve(&recording{Reader: bytes.NewReader(session)}, nil, nil)
	server.wg.Wait()
	runtime.ReadMemStats(&after)
	if s := server.Stats(); s.Connections != 0 || server.cached.Load() != 0 || !server.memory.try(int64(server.limits.TotalBytes)) || !server.small.TryAcquire(int64(server.limits.SmallBytes)) ||
		!server.reads.TryAcquire(int64(server.limits.ReadBytes)) || !server.answers.TryAcquire(int64(server.limits.AnswersBytes)) {
		t.Fatalf("something is left: %+v", s)
	}
	// Some of a frame is allocated before it is there: one at a time.
	if took, most := after.TotalAlloc-before.TotalAlloc, uint64(2<<20+200*decodeFactor*len(session)); took > most {
		t.Fatalf("%d bytes were allocated for a session of %d", took, len(session))
	}
	log = said.String()
	if n := strings.Count(log, "Kafka connection closed"); n > 1 || strings.Contains(log, "panic") {
		t.Fatalf("it is said %d times why the connection was closed:\n%s", n, log)
	}
	return log
}

func TestSessionsOfClientsAreServed(t *testing.T) {
	for name, session := range captured(t) {
		if log := serveSession(t, session); strings.Contains(log, "closed") {
			t.Errorf("%s: %s", name, log)
		}
	}
}

// TestMutatedSessionsOfClients changes sessions of clients in ways that bytes which are flipped seldom come to: whole requests that are missing, twice, in another order or of another version, lengths that lie, and
// fields at their limits.
func TestMutatedSessionsOfClients(t *testing.T) {
	var all [][]byte
	sessions := captured(t)
	names := make([]string, 0, len(sessions))
	for name, session := range sessions {
		names = append(names, name)
		all = append(all, framesOf(t, session)...)
	}
	slices.Sort(names)
	slices.SortFunc(all, bytes.Compare)
	faults, seed := 0, uint64(0)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for ; seed < uint64(*mutations); seed++ {
		random := rand.New(rand.NewPCG(seed, 9))
		frames := framesOf(t, sessions[names[random.IntN(len(names))]])
		for range 1 + random.IntN(6) {
			frames = mutate(random, frames, all)
		}
		session := bytes.Join(frames, nil)
		if random.IntN(8) == 0 {
			session = session[:random.IntN(len(session)+1)]
		}
		if strings.Contains(serveSession(t, session), "closed") {
			faults++
		}
	}
	if faults < *mutations/10 || faults > *mutations*9/10 {
		t.Errorf("%d of %d sessions were closed for a fault: the mutations do too much or too little", faults, *mutations)
	}
}

// mutate changes one thing of a session.
func mutate(random *rand.Rand, frames, all [][]byte) [][]byte {
	if len(frames) == 0 {
		return [][]byte{all[random.IntN(len(all))]}
	}
	frames = slices.Clone(frames)
	at, other := random.IntN(len(frames)), random.IntN(len(frames))
	frame := bytes.Clone(frames[at])
	frames[at] = frame
	relength := func() { binary.BigEndian.PutUint32(frames[at], uint32(len(frames[at])-4)) }
	limits := []uint32{0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}
	switch random.IntN(9) {
	case 0:
		frames = slices.Delete(frames, at, at+1)
	case 1:
		frames = slices.Insert(frames, other, frames[at])
	case 2:
		frames[at], frames[other] = frames[other], frames[at]
	case 3:
		frames = slices.Insert(frames, at, all[random.IntN(len(all))]) // another client's
	case 4:
		binary.BigEndian.PutUint16(frame[6:], uint16(random.IntN(20)-1)) // the version
	case 5:
		if i := random.IntN(len(frame)); i+4 <= len(frame) {
			binary.BigEndian.PutUint32(frame[i:], limits[random.IntN(len(limits))])
		}
	case 6:
		if i := 8 + random.IntN(len(frame)-7); i < len(frame) {
			frame[i] ^= 1 << random.IntN(8)
		}
	case 7:
		cut := 12 + random.IntN(max(1, len(frame)-11))
		frames[at] = frame[:min(cut, len(frame))]
		relength()
	case 8:
		i := min(12+random.IntN(max(1, len(frame)-11)), len(frame))
		frames[at] = slices.Insert(frame, i, bytes.Repeat([]byte{byte(limits[random.IntN(len(limits))])}, 1+random.IntN(300))...)
		relength()
	}
	return frames
}
