package join

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"sync"
	"time"

	"connectrpc.com/connect"

	joinpb "github.com/rustmq/rustmq/api/join/v1"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/pki"
)

const (
	// MaxMessageBytes bounds a message of these services before it is read.
	MaxMessageBytes = 64 << 10
	// MaxTTL is the longest life of a token.
	MaxTTL = 7 * 24 * time.Hour
	// attemptsBurst and attemptsEach bound how often anybody may try: so many at once, and another one each so long. Beyond, all are
	// refused, those with a good token too, which can try again.
	attemptsBurst = 20
	attemptsEach  = 100 * time.Millisecond
)

// Issuer is how a server of new nodes gets certificates: one of the two is set.
type Issuer struct {
	// Authority opens the authority. It is asked at each use: its key is not kept in memory between.
	Authority func() (*pki.Authority, error)
	// Elsewhere has a node that has the authority's key do what [Server.Admit] does. Without Authority.
	Elsewhere func(context.Context, *joinpb.JoinRequest) (certificate []byte, err error)
}

// Config is what a server of new nodes works with. All fields are required.
type Config struct {
	// Cluster and Fingerprint are what a new node is to believe: the cluster's id, and the authority whose certificate the connections show.
	Cluster     mq.ClusterID
	Fingerprint pki.Fingerprint
	Tokens      Tokens
	Issuer
	// Peer is the node that asks for a token, and false for anybody else.
	Peer   func(context.Context) (mq.NodeID, bool)
	Random io.Reader
	Now    func() time.Time
	Logger *slog.Logger
}

// Server implements both services. Tokens are made and taken by every node, certificates are signed where the authority's key is.
type Server struct {
	cfg Config

	mu       sync.Mutex
	attempts int       // that may be made at once
	refilled time.Time // until when attempts were added
}

// NewServer makes a server.
func NewServer(cfg Config) *Server {
	return &Server{cfg: cfg, attempts: attemptsBurst, refilled: cfg.Now()}
}

// CreateToken makes a token for one node, at the request of a node.
func (s *Server) CreateToken(ctx context.Context, req *connect.Request[joinpb.CreateTokenRequest]) (*connect.Response[joinpb.CreateTokenResponse], error) {
	text, err := s.createToken(ctx, req.Msg)
	if err != nil {
		return nil, rpcerr.ToConnect(err)
	}
	return connect.NewResponse(&joinpb.CreateTokenResponse{Token: text}), nil
}

func (s *Server) createToken(ctx context.Context, req *joinpb.CreateTokenRequest) (string, error) {
	peer, ok := s.cfg.Peer(ctx)
	if !ok {
		return "", mq.Errorf(mq.ClusterAuthorizationFailed, "only a node of the cluster may let another in")
	}
	ttl := time.Duration(req.GetTtlMs()) * time.Millisecond
	switch {
	case req.GetNodeId() < 1:
		return "", mq.Errorf(mq.InvalidRequest, "node id %d: it must be at least 1", req.GetNodeId())
	case req.GetTtlMs() > MaxTTL.Milliseconds() || ttl < time.Second:
		return "", mq.Errorf(mq.InvalidRequest, "a join token lives from 1s to %s", MaxTTL)
	}
	if err := CheckAddress(req.GetAddress()); err != nil {
		return "", err
	}
	t, err := newToken(s.cfg.Random)
	if err != nil {
		return "", err
	}
	now := s.cfg.Now()
	t.Cluster, t.Authority, t.Node, t.Address = s.cfg.Cluster, s.cfg.Fingerprint, mq.NodeID(req.GetNodeId()), req.GetAddress()
	t.Expires = now.Add(ttl).Truncate(time.Second)
	err = s.cfg.Tokens.Put(ctx, Issued{ID: t.ID, Hash: sha256.Sum256(t.Secret[:]), Node: t.Node, Expires: t.Expires}, now)
	if err != nil {
		return "", err
	}
	s.cfg.Logger.Info("a join token was made", "for_node", int32(t.Node), "by_node", int32(peer), "expires", t.Expires)
	return t.Text(), nil
}

// Join uses a token up and signs the certificate of its node.
func (s *Server) Join(ctx context.Context, req *connect.Request[joinpb.JoinRequest]) (*connect.Response[joinpb.JoinResponse], error) {
	cert, err := s.join(ctx, req.Msg)
	if err != nil {
		s.cfg.Logger.Warn("a node was not let in", "claims_node", req.Msg.GetNodeId(), "error", err)
		return nil, rpcerr.ToConnect(err)
	}
	return connect.NewResponse(&joinpb.JoinResponse{Certificate: cert}), nil
}

// Admit is Join for a node that a new one has asked, and that does not have the authority's key.
func (s *Server) Admit(ctx context.Context, req *connect.Request[joinpb.AdmitRequest]) (*connect.Response[joinpb.AdmitResponse], error) {
	cert, err := s.admit(ctx, req.Msg.GetJoin())
	if err != nil {
		return nil, rpcerr.ToConnect(err)
	}
	return connect.NewResponse(&joinpb.AdmitResponse{Certificate: cert}), nil
}

func (s *Server) admit(ctx context.Context, req *joinpb.JoinRequest) ([]byte, error) {
	if _, ok := s.cfg.Peer(ctx); !ok {
		return nil, mq.Errorf(mq.ClusterAuthorizationFailed, "only a node of the cluster may let another in")
	}
	if s.cfg.Authority == nil {
		return nil, mq.Errorf(mq.UnsupportedVersion, "this node does not have the authority's key")
	}
	return s.join(ctx, req)
}

func (s *Server) join(ctx context.Context, req *joinpb.JoinRequest) ([]byte, error) {
	now := s.cfg.Now()
	if !s.attempt(now) {
		return nil, mq.Errorf(mq.TooManyRequests, "too many try to join: try again in a second")
	}
	node, id := mq.NodeID(req.GetNodeId()), TokenID{}
	if len(req.GetTokenId()) != len(id) || len(req.GetSecret()) != secretBytes {
		return nil, ErrNoToken
	}
	copy(id[:], req.GetTokenId())
	// Nothing of the authority is touched for who has no token; after the token is used only signing can fail.
	request, err := pki.ParseRequest(req.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	if s.cfg.Authority == nil {
		return s.cfg.Elsewhere(ctx, req)
	}
	if err := s.cfg.Tokens.Use(ctx, id, req.GetSecret(), node, now); err != nil {
		return nil, err
	}
	authority, err := s.cfg.Authority()
	if err != nil {
		return nil, mq.Wrapf(err, "the token is used up, and the authority cannot sign")
	}
	cert, err := authority.Certify(request, node, now)
	if err != nil {
		return nil, err
	}
	s.cfg.Logger.Info("a node was let in", "node", int32(node), "hosts", request.Hosts())
	return cert, nil
}

// attempt takes one of the attempts that may be made.
func (s *Server) attempt(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.refilled); since >= attemptsEach {
		s.attempts = min(attemptsBurst, s.attempts+int(min(since/attemptsEach, attemptsBurst)))
		s.refilled = now.Add(-(since % attemptsEach))
	}
	if s.attempts == 0 {
		return false
	}
	s.attempts--
	return true
}
