// Command propose has the controllers decide one command that says which cluster feature level it needs, as a program of that level would: for
// testdata/e2e/rolling-upgrade.sh. The command takes a producer id, which nobody misses.
//
//	go run ./testdata/propose -pki DIR -level N HOST:PORT ...
//
// It speaks as the node whose certificate is in DIR to the listeners for nodes that are named, and prints what was decided: NONE, or the code and text of
// the refusal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	"github.com/rustmq/rustmq/api/control/v1/controlpbconnect"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

func main() {
	dir, level := flag.String("pki", "", "directory of a node's certificate"), flag.Uint("level", 0, "feature level that the command needs")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	verdict, err := propose(ctx, *dir, uint32(*level), flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "propose:", err)
		os.Exit(1)
	}
	fmt.Println(verdict)
}

// propose asks one controller after the other, until one decides.
func propose(ctx context.Context, dir string, level uint32, addresses []string) (verdict string, err error) {
	s, found, err := pki.ReadSubject(dir)
	if err != nil || !found {
		return "", errors.Join(err, fmt.Errorf("there is no certificate in %q", dir))
	}
	certs, err := pki.Open(dir, s, time.Now())
	if err != nil {
		return "", err
	}
	command, err := proto.Marshal(&metadatapb.Command{FeatureLevel: level, Kind: &metadatapb.Command_AllocateProducerIds{
		AllocateProducerIds: &metadatapb.AllocateProducerIDs{Count: 1},
	}})
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: certs.NodeClientTLS(mq.NoNode), ForceAttemptHTTP2: true}}
	for ctx.Err() == nil {
		for _, address := range addresses {
			answer, asked := controlpbconnect.NewControlServiceClient(client, "https://"+address).
				Propose(ctx, connect.NewRequest(&controlpb.ProposeRequest{Command: command}))
			if asked != nil { // it does not lead, or does not run
				err = errors.Join(err, asked)
				continue
			}
			if _, refused := metadata.DecodeResult(answer.Msg.GetResult()); refused != nil {
				return refused.Error(), nil //nolint:nilerr // the refusal is what was asked for
			}
			return mq.None.String(), nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", err
}
