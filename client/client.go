package client

// Client is a connection to a cluster: producer, admin, and maker of consumers. It is for any number of goroutines
// at once; a process needs one. Make it with [New].
type Client struct {
	cfg config
}

// New makes a client. It opens no connection (those are made when needed, and remade when lost): it only fails for invalid options,
// with INVALID_CONFIG in most cases.
func New(opts ...Option) (*Client, error) {
	cfg, err := build(opts)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg}, nil
}

// Close closes all connections and consumers, and fails what is still buffered with [ErrClosed] (whether it was delivered is then
// unknown, if it had been sent): call [Client.Flush] before. When Close returns, all promises have been called and no goroutine of the client is left.
// It must not be called from a promise.
func (c *Client) Close() error { panic("not yet") }
