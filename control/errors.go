package control

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

const (
	// leaderHeader names who leads, as "NODE ADDRESS", in an error whose code is NotController.
	leaderHeader = "Rustmq-Leader"
	// undecidedHeader is there in the error of a command that may be carried out all the same.
	undecidedHeader = "Rustmq-Undecided"
)

// undecided is the cause of errors after which a command may still be carried out.
type undecided struct{}

func (undecided) Error() string { return "the outcome is unknown" }

// Undecided says of an error of Propose that the command may have been carried out, or may be yet: the answer was lost. After any other
// error it has not been and will not be.
func Undecided(err error) bool {
	_, ok := errors.AsType[undecided](err)
	return ok || raft.Undecided(err)
}

func makeUndecided(err error) error {
	return mq.Errorf(mq.CodeOf(err), "%w", errors.Join(err, undecided{}))
}

// answer is err for a handler to return: with who leads, when this node does not, and with whether it is known what became of a command.
func answer(err error, leads Leadership) error {
	err, unknown := rpcerr.ToConnect(err), Undecided(err)
	c, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	if unknown {
		c.Meta().Set(undecidedHeader, "1")
	}
	if c.Meta().Get(rpcerr.CodeHeader) == strconv.Itoa(int(mq.NotController)) && !leads.Leading && leads.Address != "" {
		c.Meta().Set(leaderHeader, fmt.Sprint(int32(leads.Leader), " ", leads.Address))
	}
	return c
}

// failure is what a client makes of an error of a call.
type failure struct {
	err       error // of mq
	answered  bool  // a controller of ours said so
	elsewhere bool  // another controller should be asked
	leader    string
	unsent    bool // nothing of the call can have reached anybody
	unknown   bool // a command may have been carried out
}

func failureOf(err error) failure {
	f := failure{err: rpcerr.FromConnect(err)}
	if c, ok := errors.AsType[*connect.Error](err); ok && c.Meta().Get(rpcerr.CodeHeader) != "" {
		f.answered = true
		f.unknown = c.Meta().Get(undecidedHeader) != ""
		_, f.leader, _ = strings.Cut(c.Meta().Get(leaderHeader), " ")
	}
	dial, ok := errors.AsType[*net.OpError](err)
	// A node that is starting has no such service yet, and whoever has none did nothing.
	absent := !f.answered && connect.CodeOf(err) == connect.CodeUnimplemented
	f.unsent = absent || !f.answered && (errors.Is(err, syscall.ECONNREFUSED) || ok && dial.Op == "dial")
	f.unknown = f.unknown || !f.answered && !f.unsent
	switch mq.CodeOf(f.err) {
	case mq.NotController, mq.ShuttingDown, mq.NetworkException, mq.UnsupportedVersion:
		f.elsewhere = true
	case mq.Canceled, mq.RequestTimedOut, mq.Unknown:
		f.elsewhere = !f.answered
	}
	return f
}
