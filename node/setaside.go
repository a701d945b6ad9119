package node

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal"
)

// setAsideDir is what of a data directory says which partitions are set aside.
const setAsideDir = "set-aside"

// generationFile is the one in it that is no partition.
const generationFile = "generation"

// setAside are the partitions that this node has in its log and that controllers do not know, or give to others, which were recovered from the loss of a majority: they may never
// have heard of them. The log keeps what it has of such a partition until somebody takes the partition's file away, or it is to run here again.
//
//	set-aside/generation      the generation of the last image of which all that this node has was compared
//	set-aside/TOPICID.INDEX   a partition: its topic's name
//
// Not safe for concurrent use.
type setAside struct {
	fsys       wal.FS
	dir        string
	generation uint64
	topics     map[mq.PartitionID]string // name of the topic, "" for not known
}

// loadSetAside reads what lies in a data directory.
func loadSetAside(fsys wal.FS, dataDir string) (*setAside, error) {
	s := &setAside{fsys: fsys, dir: filepath.Join(dataDir, setAsideDir), topics: make(map[mq.PartitionID]string)}
	if !hasFiles(fsys, s.dir) {
		return s, nil
	}
	names, err := fsys.ReadDir(s.dir)
	if err != nil {
		return nil, mq.Errorf(mq.KafkaStorageError, "list %s: %w", s.dir, err)
	}
	for _, name := range names {
		text, err := s.read(name)
		if err != nil {
			return nil, err
		}
		if name == generationFile {
			if s.generation, err = strconv.ParseUint(text, 10, 64); err != nil {
				return nil, mq.Errorf(mq.WrongDataDir, "%s is damaged: %w", filepath.Join(s.dir, name), err)
			}
		} else if id, ok := SetAsidePartition(name); ok {
			s.topics[id] = text
		}
	}
	return s, nil
}

func fileOfPartition(id mq.PartitionID) string {
	return id.Topic.String() + "." + strconv.Itoa(int(id.Index))
}

func (s *setAside) path(id mq.PartitionID) string { return filepath.Join(s.dir, fileOfPartition(id)) }

// SetAsidePartition is the partition that a file of that name in set-aside stands for; ok is false where it is none.
func SetAsidePartition(name string) (id mq.PartitionID, ok bool) {
	topic, index, _ := strings.Cut(name, ".")
	t, err := mq.ParseTopicID(topic)
	n, wrong := strconv.ParseInt(index, 10, 32)
	return mq.PartitionID{Topic: t, Index: int32(n)}, err == nil && wrong == nil && n >= 0
}

func (s *setAside) read(name string) (string, error) {
	path := filepath.Join(s.dir, name)
	f, err := s.fsys.OpenRead(path)
	if err != nil {
		return "", mq.Errorf(mq.KafkaStorageError, "open %s: %w", path, err)
	}
	defer f.Close()
	data := make([]byte, 1<<10) // longer than any name
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", mq.Errorf(mq.KafkaStorageError, "read %s: %w", path, err)
	}
	return strings.TrimSpace(string(data[:n])), nil
}

func (s *setAside) write(name, text string) error {
	path := filepath.Join(s.dir, name)
	return mq.Wrapf(writeFileDurably(s.fsys, path, []byte(text+"\n")), "write %s", path)
}

// has says whether a partition is set aside. A nil one has none.
func (s *setAside) has(id mq.PartitionID) bool {
	if s == nil {
		return false
	}
	_, ok := s.topics[id]
	return ok
}

// behind says whether what this node has was not compared with an image of this generation yet. Of a nil one it always was.
func (s *setAside) behind(generation uint64) bool { return s != nil && s.generation < generation }

// add sets a partition aside. It is so when it returns, though it may not be written down, which compared makes up for.
func (s *setAside) add(id mq.PartitionID, topic string) { s.topics[id] = topic }

// compared notes that all that this node has was compared with an image of a generation. Of what was set aside before all is written down when it returns nil.
func (s *setAside) compared(generation uint64) error {
	if err := s.fsys.MkdirAll(s.dir); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "make %s: %w", s.dir, err)
	}
	for id, topic := range s.topics {
		if err := s.write(fileOfPartition(id), topic); err != nil {
			return err
		}
	}
	if err := s.write(generationFile, strconv.FormatUint(generation, 10)); err != nil {
		return err
	}
	s.generation = generation
	return nil
}

// taken notes that a partition runs here again.
func (s *setAside) taken(id mq.PartitionID) error {
	if !s.has(id) {
		return nil
	}
	delete(s.topics, id)
	path := s.path(id)
	if err := s.fsys.Remove(path); err != nil {
		return mq.Errorf(mq.KafkaStorageError, "remove %s: %w", path, err)
	}
	return mq.Wrapf(s.fsys.SyncDir(s.dir), "sync %s", s.dir)
}

// list is what is set aside, by topic and number.
func (s *setAside) list() []mq.PartitionID {
	ids := make([]mq.PartitionID, 0, len(s.topics))
	for id := range s.topics {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b mq.PartitionID) int { return strings.Compare(fileOfPartition(a), fileOfPartition(b)) })
	return ids
}
