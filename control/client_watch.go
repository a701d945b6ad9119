package control

import (
	"context"
	"time"

	"connectrpc.com/connect"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// follow keeps this node's image up to date, from one leading controller after the other.
func (c *Client) follow() {
	var p pauses
	whole := false // what changed cannot be used: all of the next image is needed
	for c.stopped.Err() == nil {
		address := c.finder.pick()
		have := c.feed.Image()
		if whole {
			have = &metadata.Image{}
		}
		began := c.cfg.Now()
		err := c.followOne(address, have)
		whole = mq.CodeOf(err) == mq.ProtocolViolation
		if c.cfg.Now()-began > c.timing.KeepAlive { // it was of use: not one that ends as soon as it begins
			p = pauses{}
		}
		if c.stopped.Err() != nil {
			return
		}
		f := failureOf(err)
		c.log.Debug("the image is watched elsewhere", "was", address, "error", f.err)
		if sleep(c.stopped, c.failed(&p, address, f)) != nil {
			return
		}
	}
}

// followOne takes images from one controller until it ends or is silent.
func (c *Client) followOne(address string, have *metadata.Image) error {
	ctx, cancel := context.WithCancelCause(c.stopped)
	defer cancel(nil)
	silent := time.AfterFunc(c.timing.Answer, func() {
		cancel(mq.Errorf(mq.NetworkException, "the controller at %s is silent", address))
	})
	defer silent.Stop()
	reader := metadata.NewImageReader(have)
	stream, err := c.service(address).Watch(ctx, connect.NewRequest(&controlpb.WatchRequest{NodeId: int32(c.cfg.Node), Have: have.Index}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // what it reports was reported before
	for stream.Receive() {
		silent.Reset(c.timing.Answer)
		if err := c.take(reader, stream.Msg()); err != nil {
			return err
		}
		c.newsAt.Store(int64(c.cfg.Now()))
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return stream.Err()
}

// take publishes the image that a message completes. An image is never replaced by an older one: a controller that was just elected has
// what any other has shown, so an older one comes from one that is behind.
func (c *Client) take(reader *metadata.ImageReader, m *controlpb.WatchResponse) error {
	if len(m.GetPage()) == 0 {
		return nil
	}
	img, err := reader.Add(m.GetPage())
	if err != nil {
		c.log.Error("an image cannot be used", "error", err)
		return err
	}
	if img == nil {
		return nil
	}
	now := c.feed.Image()
	if img.Index < now.Index {
		return mq.Errorf(mq.NotController, "an image at index %d came, %d is here", img.Index, now.Index)
	}
	if now.Index != 0 && img.Generation() != now.Generation() {
		c.log.Error("the cluster was recovered from the loss of a majority of its controllers: what only those decided is void", "generation", img.Generation(),
			"image_before", now.Index, "image", img.Index)
	}
	c.feed.Publish(img)
	c.finder.learn(controllersOf(img))
	return nil
}
