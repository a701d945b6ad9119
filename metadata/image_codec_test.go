package metadata

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// transfer takes an image through its pages to a reader, and gives how many bytes they had.
func transfer(t testing.TB, r *ImageReader, old, now *Image) (img *Image, size int) {
	t.Helper()
	for page := range ImagePages(old, now) {
		if img != nil {
			t.Fatal("pages follow the last")
		}
		var err error
		if img, err = r.Add(page); err != nil {
			t.Fatal(err)
		}
		size += len(page)
	}
	if img == nil {
		t.Fatal("no image came")
	}
	return img, size
}

// checkSame compares two images in all that can be asked of them.
func checkSame(t testing.TB, got, want *Image) {
	t.Helper()
	if d := Diff(got, want); !d.Empty() || got.Index != want.Index {
		t.Fatalf("at index %d, want %d: they differ in %+v", got.Index, want.Index, d)
	}
	if got.PartitionCount() != want.PartitionCount() || got.TopicCount() != want.TopicCount() || got.names.len() != want.names.len() {
		t.Fatalf("%d topics, %d names, %d partitions, want %d, %d, %d", got.TopicCount(), got.names.len(), got.PartitionCount(),
			want.TopicCount(), want.names.len(), want.PartitionCount())
	}
	for topic := range want.Topics() {
		found := got.TopicByName(topic.Name)
		if found == nil || found.Config != topic.Config || found.Partitions() != topic.Partitions() {
			t.Fatalf("topic %s is %+v, want %+v", topic.Name, found, topic)
		}
	}
}

// moreCommands are those that a story has none of.
func moreCommands(t testing.TB, random *rand.Rand) [][]byte {
	topic := topicOf(byte(random.IntN(12)))
	configs := []*metadatapb.ConfigChange{{Key: "retention.ms", Value: strconv.Itoa(random.IntN(3) * 1000)}}
	if random.IntN(3) == 0 {
		configs = []*metadatapb.ConfigChange{{Key: "retention.ms", Delete: true}}
	}
	kinds := []*metadatapb.Command{
		{Kind: &metadatapb.Command_SetClusterConfigs{SetClusterConfigs: &metadatapb.SetClusterConfigs{Changes: configs}}},
		{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{Id: topic[:], Changes: configs}}},
		{Kind: &metadatapb.Command_CreatePartitions{CreatePartitions: &metadatapb.CreatePartitions{
			Id: topic[:], Current: 3, Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{1, 2, 3}}, {Replicas: []int32{2, 3, 4}}},
		}}},
	}
	value := []string{"", "2000", "3000"}[random.IntN(3)]
	kinds = append(kinds, groupCommand(fmt.Sprint("group-", random.IntN(3)), heartbeatKey, value))
	return [][]byte{encode(t, kinds[random.IntN(len(kinds))])}
}

// A watcher has what the store has after any commands, whichever of the images in between it saw.
func TestImageThatCameInPagesIsTheStores(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 7))
		b := newBench(t)
		reader := NewImageReader(nil)
		var have *Image
		for rest := story(t, random.Uint64(), 80); len(rest) > 0; {
			n := min(1+random.IntN(12), len(rest))
			b.apply(rest[:n]...)
			rest = rest[n:]
			if b.index > 10 {
				b.apply(moreCommands(t, random)...)
			}
			if random.IntN(3) == 0 {
				continue
			}
			if random.IntN(10) == 0 {
				have, reader = nil, NewImageReader(have) // what it has is not known any more
			}
			got, _ := transfer(t, reader, have, b.store.Image())
			checkSame(t, got, b.store.Image())
			have = b.store.Image()
		}
	})
}

// bigImage has many topics, and one with many partitions: more than a page.
func bigImage(t testing.TB) (*bench, byte) {
	b := newCluster(t, 5)
	for topic := range byte(50) {
		b.must(createCommand(topic, fmt.Sprint("topic-", topic), []int32{1, 2, 3}, []int32{2, 3, 4}))
	}
	replicas := make([][]int32, mq.MaxPartitionsPerTopic)
	for i := range replicas {
		n := int32(i)
		replicas[i] = []int32{1 + n%5, 1 + (n+1)%5, 1 + (n+2)%5}
	}
	const large = 200
	b.must(createCommand(large, "large", replicas...))
	return b, large
}

func TestWholeImageTakesSeveralPages(t *testing.T) {
	b, _ := bigImage(t)
	pages := slices.Collect(ImagePages(nil, b.store.Image()))
	if len(pages) < 2 {
		t.Fatalf("%d pages", len(pages))
	}
	for _, page := range pages {
		if len(page) > imagePageBytes+200 {
			t.Errorf("a page has %d bytes", len(page))
		}
	}
	got, _ := transfer(t, NewImageReader(nil), nil, b.store.Image())
	checkSame(t, got, b.store.Image())
	for range ImagePages(nil, b.store.Image()) {
		break // who stops early is left alone
	}
}

// One change among 10,000 partitions is a few bytes on the way, and a chunk and a few lists at the other end.
func TestImageSharesWhatDidNotChange(t *testing.T) {
	b, large := bigImage(t)
	before := b.store.Image()
	reader := NewImageReader(nil)
	base, _ := transfer(t, reader, nil, before)
	b.must(logStartCommand(partitionOf(large, 5000), 7))
	now, size := transfer(t, reader, before, b.store.Image())
	checkSame(t, now, b.store.Image())
	if size > 200 {
		t.Errorf("one change took %d bytes", size)
	}
	old, changed := base.Topic(topicOf(large)), now.Topic(topicOf(large))
	other := 0
	for i := range old.chunks {
		if old.chunks[i] != changed.chunks[i] {
			other++
		}
	}
	if other != 1 || base.Partition(partitionOf(large, 5001)) != now.Partition(partitionOf(large, 5001)) {
		t.Errorf("%d chunks are others", other)
	}
	for n := range byte(50) {
		if base.Topic(topicOf(n)) != now.Topic(topicOf(n)) {
			t.Errorf("topic %d was copied", n)
		}
	}
	d := Diff(base, now)
	if len(d.Changed) != 1 || !slices.Equal(d.Changed[0].Partitions, []int32{5000}) {
		t.Errorf("the change is %+v", d.Changed)
	}
	if got := testing.AllocsPerRun(10, func() {
		if _, err := NewImageReader(base).Add(slices.Collect(ImagePages(before, b.store.Image()))[0]); err != nil {
			t.Fatal(err)
		}
	}); got > 200 {
		t.Errorf("one change takes %v allocations", got)
	}
}

// A reader takes pages in their order only, and changes only to the image that it has.
func TestPagesThatDoNotFollowAreRefused(t *testing.T) {
	b, large := bigImage(t)
	first := b.store.Image()
	whole := slices.Collect(ImagePages(nil, first))
	b.must(logStartCommand(partitionOf(large, 1), 7))
	second := b.store.Image()
	b.must(logStartCommand(partitionOf(large, 1), 8))
	changes := slices.Collect(ImagePages(second, b.store.Image()))
	for name, pages := range map[string][][]byte{
		"a page is missing":        {whole[0], whole[2]},
		"it begins in the middle":  {whole[1]},
		"a page comes twice":       {whole[0], whole[0]},
		"changes to another image": append(slices.Clone(whole), changes...),
		"changes to no image":      changes,
		"an image inside another":  {whole[0], changes[0]},
		"too large":                {make([]byte, MaxImagePageBytes+1)},
		"not a page":               {[]byte("page")},
	} {
		r := NewImageReader(nil)
		var err error
		for i, page := range pages {
			if _, err = r.Add(page); err != nil && i != len(pages)-1 {
				t.Errorf("%s: page %d: %v", name, i, err)
			}
		}
		if mq.CodeOf(err) != mq.ProtocolViolation {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := r.Add(whole[0]); again == nil {
			t.Errorf("%s: the reader goes on after it failed", name)
		}
	}
}

// page is one page from nothing, encoded.
func page(t testing.TB, edit func(*metadatapb.ImagePage)) []byte {
	t.Helper()
	p := &metadatapb.ImagePage{Index: 9, Last: true, ConfigsChanged: true}
	edit(p)
	data, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPagesThatMakeNoImageAreRefused(t *testing.T) {
	id := topicOf(1)
	topic := func(n int32, states ...*metadatapb.PartitionState) *metadatapb.TopicChange {
		return &metadatapb.TopicChange{Id: id[:], Topic: &metadatapb.Topic{Id: id[:], Name: "t", Partitions: n}, Partitions: states}
	}
	state := func(i int32, replicas ...int32) *metadatapb.PartitionState {
		return &metadatapb.PartitionState{Partition: i, State: &metadatapb.Partition{Replicas: replicas}}
	}
	other := topicOf(2)
	for name, edit := range map[string]func(*metadatapb.ImagePage){
		"partitions are missing": func(p *metadatapb.ImagePage) { p.Topics = append(p.Topics, topic(2, state(0, 1))) },
		"more than announced":    func(p *metadatapb.ImagePage) { p.Topics = append(p.Topics, topic(1, state(0, 1), state(1, 1))) },
		"a gap":                  func(p *metadatapb.ImagePage) { p.Topics = append(p.Topics, topic(2, state(1, 1))) },
		"too many partitions":    func(p *metadatapb.ImagePage) { p.Topics = append(p.Topics, topic(mq.MaxPartitionsPerTopic+1)) },
		"no replicas":            func(p *metadatapb.ImagePage) { p.Topics = append(p.Topics, topic(1, state(0))) },
		"no such topic": func(p *metadatapb.ImagePage) {
			p.Topics = append(p.Topics, &metadatapb.TopicChange{Id: id[:], Partitions: []*metadatapb.PartitionState{state(0, 1)}})
		},
		"one name twice": func(p *metadatapb.ImagePage) {
			second := topic(1, state(0, 1))
			second.Id = other[:]
			p.Topics = append(p.Topics, topic(1, state(0, 1)), second)
		},
		"another topic before the first is whole": func(p *metadatapb.ImagePage) {
			second := topic(1, state(0, 1))
			second.Id, second.Topic.Name = other[:], "u"
			p.Topics = append(p.Topics, topic(2, state(0, 1)), second)
		},
		"a name that is none": func(p *metadatapb.ImagePage) {
			c := topic(1, state(0, 1))
			c.Topic.Name = "a/b"
			p.Topics = append(p.Topics, c)
		},
		"an id that is none":      func(p *metadatapb.ImagePage) { p.Topics = append(p.Topics, &metadatapb.TopicChange{Id: []byte("x")}) },
		"a broker that is none":   func(p *metadatapb.ImagePage) { p.Brokers = append(p.Brokers, &metadatapb.Broker{NodeId: -1}) },
		"a broker that never was": func(p *metadatapb.ImagePage) { p.RemovedBrokers = append(p.RemovedBrokers, 1) },
		"a topic that never was":  func(p *metadatapb.ImagePage) { p.DeletedTopics = append(p.DeletedTopics, id[:]) },
		"a cluster without an id": func(p *metadatapb.ImagePage) { p.Cluster = &metadatapb.Cluster{ClusterId: []byte("x")} },
	} {
		if _, err := NewImageReader(nil).Add(page(t, edit)); mq.CodeOf(err) != mq.ProtocolViolation {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, edit := range map[string]func(*metadatapb.ImagePage){
		"level": func(p *metadatapb.ImagePage) {
			p.Cluster = &metadatapb.Cluster{ClusterId: clusterID[:], FeatureLevel: FeatureLevel + 1}
		},
		"setting": func(p *metadatapb.ImagePage) {
			p.Configs = append(p.Configs, &metadatapb.ConfigEntry{Key: "new", Value: "1"})
		},
	} {
		if _, err := NewImageReader(nil).Add(page(t, edit)); mq.CodeOf(err) != mq.UnsupportedVersion {
			t.Errorf("%s of a newer program: %v", name, err)
		}
	}
}

// fill gives every field of v, however deep, a value of its own that is not zero.
func fill(v reflect.Value, next *int64) {
	*next++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), next)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), next)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *next))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(*next)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*next))
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

// Whatever is added to a broker or a partition must come through the record that a page carries, and must be seen by Diff.
func TestEveryFieldTravels(t *testing.T) {
	var next int64
	b, p := &Broker{}, &Partition{}
	fill(reflect.ValueOf(b).Elem(), &next)
	fill(reflect.ValueOf(p).Elem(), &next)
	if got := brokerFrom(brokerRecord(b)); !reflect.DeepEqual(got, b) {
		t.Errorf("broker %+v\n  want %+v", got, b)
	}
	if got := partitionFrom(partitionRecord(p), nil); !reflect.DeepEqual(got, p) {
		t.Errorf("partition %+v\n     want %+v", got, p)
	}
	for _, v := range []any{b, p} {
		for i := range reflect.TypeOf(v).Elem().NumField() {
			other := reflect.New(reflect.TypeOf(v).Elem())
			other.Elem().Set(reflect.ValueOf(v).Elem())
			fill(other.Elem().Field(i), &next)
			if other.Elem().Field(i).Kind() == reflect.Bool {
				other.Elem().Field(i).SetBool(false)
			}
			same := false
			switch v := v.(type) {
			case *Broker:
				same = v.equal(other.Interface().(*Broker))
			case *Partition:
				same = v.equal(other.Interface().(*Partition))
			}
			if same {
				t.Errorf("Diff does not see %T.%s", v, other.Elem().Type().Field(i).Name)
			}
		}
	}
	fields := func(v any) (names []string) {
		for i := range reflect.TypeOf(v).NumField() {
			names = append(names, reflect.TypeOf(v).Field(i).Name)
		}
		return names
	}
	known := []string{"Index", "ClusterID", "FeatureLevel", "Defaults", "brokers", "controllers", "topics", "names", "groups", "quotas", "partitions"}
	if got := fields(Image{}); !slices.Equal(got, known) {
		t.Errorf("an image has the fields %v, the codec knows %v", got, known)
	}
	known = []string{"ID", "Name", "Config", "Overrides", "Restored", "owner", "count", "chunks"}
	if got := fields(Topic{}); !slices.Equal(got, known) {
		t.Errorf("a topic has the fields %v, the codec knows %v", got, known)
	}
}

// FuzzImagePage: whatever bytes come, they make an image or an error; an image that was made can be sent on.
func FuzzImagePage(f *testing.F) {
	b := newCluster(f, 3)
	b.must(createCommand(1, "one", []int32{1, 2, 3}, []int32{2, 3, 1}))
	base := b.store.Image()
	for p := range ImagePages(nil, base) {
		f.Add(p, p)
	}
	b.must(groupCommand("billing", sessionKey, "9000"))
	b.must(logStartCommand(partitionOf(1, 0), 7))
	b.must(createCommand(2, "two", []int32{1, 2, 3}))
	b.must(deleteCommand(1))
	for p := range ImagePages(base, b.store.Image()) {
		f.Add(p, []byte{})
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		r := NewImageReader(base)
		img, err := r.Add(one)
		if err == nil && img == nil {
			img, err = r.Add(two)
		}
		if err != nil || img == nil {
			return
		}
		again, _ := transfer(t, NewImageReader(base), nil, img)
		checkSame(t, again, img)
		again, _ = transfer(t, NewImageReader(nil), nil, img)
		checkSame(t, again, img)
	})
}

func BenchmarkWholeImage(b *testing.B) {
	bench, _ := bigImage(b)
	pages := slices.Collect(ImagePages(nil, bench.store.Image()))
	b.Run("pages", func(b *testing.B) {
		for b.Loop() {
			for range ImagePages(nil, bench.store.Image()) {
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			r := NewImageReader(nil)
			for _, p := range pages {
				if _, err := r.Add(p); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// What is published is told, and many changes wake once.
func TestFeedTellsWhoWatches(t *testing.T) {
	f := &Feed{}
	w := f.Watch()
	<-w.C()
	if w.Image().Index != 0 {
		t.Errorf("an empty feed is at index %d", w.Image().Index)
	}
	f.Publish(&Image{Index: 1})
	f.Publish(&Image{Index: 2})
	<-w.C()
	if w.Image().Index != 2 || f.Image().Index != 2 {
		t.Errorf("the feed is at index %d", w.Image().Index)
	}
	select {
	case <-w.C():
		t.Error("two changes woke twice")
	default:
	}
	w.Close()
	f.Publish(&Image{Index: 3})
	select {
	case <-w.C():
		t.Error("a watch that was closed was told")
	default:
	}
}
