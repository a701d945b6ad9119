package kafkaproto

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/rustmq/rustmq/mq"
)

// api is one row of the table: what is offered, and who does it.
type api struct {
	key      kmsg.Key
	min, max int16 // the versions that ApiVersions tells
	from     int16 // the first one of them that is served: those below get UNSUPPORTED_VERSION
	bytes    int   // of a request; 0: Limits.RequestBytes
	aliases  bool  // the frame is not decoded into other memory; it lies in memory that is used again, which start gives back
	waits    bool  // for other clients, for as long as these say
	start    starter
}

// weight is what a request takes of the limits of bytes, of which so many follow the head.
func (a *api) weight(n int) int {
	if a.aliases {
		return frameBytes(n)
	}
	return n * decodeFactor
}

// starter begins to handle a request. It is called by the goroutine that reads the connection, in the order of the requests, and does not wait for what
// comes of it; it may wait for room. An error closes the connection.
type starter func(c *call) (answer, error)

// answer gives the response. It is called by the goroutine that writes, in the order of the requests, and waits for what it takes until ctx ends. A nil body
// is no response; an error closes the connection.
type answer func(ctx context.Context) (body, error)

// body is a response of the version that was asked for.
type body interface {
	IsFlexible() bool
	appendTo(o *output)
}

// table is all that is offered, in the order of the keys.
func table(l Limits) []api {
	return []api{
		produceAPI(l),
		fetchAPI(),
		listOffsetsAPI(),
		metadataAPI(),
		offsetCommitAPI(),
		offsetFetchAPI(),
		findCoordinatorAPI(),
		joinGroupAPI(),
		heartbeatAPI(),
		leaveGroupAPI(),
		syncGroupAPI(),
		describeGroupsAPI(),
		listGroupsAPI(),
		saslHandshakeAPI(),
		apiVersionsAPI(),
		createTopicsAPI(),
		deleteTopicsAPI(),
		deleteRecordsAPI(),
		initProducerIDAPI(),
		offsetForLeaderEpochAPI(),
		describeACLsAPI(),
		createACLsAPI(),
		deleteACLsAPI(),
		describeConfigsAPI(),
		alterConfigsAPI(),
		describeLogDirsAPI(),
		saslAuthenticateAPI(),
		createPartitionsAPI(),
		deleteGroupsAPI(),
		electLeadersAPI(),
		incrementalAlterConfigsAPI(),
		alterPartitionAssignmentsAPI(),
		listPartitionReassignmentsAPI(),
		offsetDeleteAPI(),
		describeClientQuotasAPI(),
		alterClientQuotasAPI(),
		describeUserSCRAMCredentialsAPI(),
		alterUserSCRAMCredentialsAPI(),
		describeQuorumAPI(),
		describeClusterAPI(),
		describeProducersAPI(),
		consumerGroupHeartbeatAPI(),
		consumerGroupDescribeAPI(),
		describeTopicPartitionsAPI(),
	}
}

// find is the row of an API, nil if it is not offered.
func (s *Server) find(key int16) *api {
	for i := range s.table {
		if s.table[i].key.Int16() == key {
			return &s.table[i]
		}
	}
	return nil
}

// inTurn is the starter of an API whose requests are handled one after the other. handle fills in the response, which has its version and defaults; an
// error of its closes the connection.
func inTurn[Q kmsg.Request, R kmsg.Response](handle func(ctx context.Context, c *call, q Q, r R) error) starter {
	return func(c *call) (answer, error) {
		q, err := decode[Q](c)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (body, error) {
			r, ok := q.ResponseKind().(R)
			if !ok {
				return nil, mq.Errorf(mq.Internal, "%T is not the response to %T", r, q)
			}
			if err := handle(ctx, c, q, r); err != nil {
				return nil, err
			}
			return message{r}, nil
		}, nil
	}
}

// decode reads a request's body.
func decode[Q kmsg.Request](c *call) (q Q, err error) {
	q, ok := c.api.key.Request().(Q)
	if !ok {
		return q, mq.Errorf(mq.Internal, "%T is not the request of %s", q, c.api.key.Name())
	}
	q.SetVersion(c.version)
	if err := q.ReadFrom(c.body); err != nil {
		return q, mq.Errorf(mq.ProtocolViolation, "%s request of version %d does not decode: %w", c.api.key.Name(), c.version, err)
	}
	return q, nil
}

// message is a body that kmsg encodes.
type message struct{ kmsg.Response }

func (m message) appendTo(o *output) { o.buf = m.AppendTo(o.buf) }
