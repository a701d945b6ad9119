package group_test

import (
	"fmt"
	"time"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
)

// A host replays the partition's log, tells what topics there are, and from then on does what each call says: append the records as one
// batch, give the replies when it is replicated, poke the members that are to wake up.
func ExampleShard() {
	now := time.UnixMilli(0)
	shard := group.NewShard(group.DefaultConfig(), nil)
	// for each record of the log: shard.Replay(offset, record)
	if err := shard.Loaded(now); err != nil {
		fmt.Println(err)
		return
	}
	shard.SetTopics(now, group.NewTopics(1, []group.Topic{{Name: "orders", ID: mq.TopicID{1}, Partitions: 4}}))

	fx := shard.Handle(now, 1, &group.HeartbeatRequest{
		Group: "billing", Member: "a", Epoch: group.EpochJoin, Topics: []string{"orders"}, RebalanceTimeout: time.Minute,
	})
	for _, r := range fx.Replies {
		answer := r.Response.(*group.HeartbeatResponse)
		fmt.Println(len(fx.Records), "record; epoch", answer.Epoch, "assigned", answer.Assigned[0].Partitions)
	}
	fx = shard.Handle(now, 2, &group.HeartbeatRequest{
		Group: "billing", Member: "b", Epoch: group.EpochJoin, Topics: []string{"orders"}, RebalanceTimeout: time.Minute,
	})
	fmt.Println("wake", fx.Wakes)
	// Output:
	// 1 record; epoch 1 assigned [0 1 2 3]
	// wake [{billing a}]
}
