package control

// unfit says why this broker must not lead, and ends its lease then: what it has not acknowledged until now it will not, before it has a new one.
func (c *Client) unfit() error {
	if c.cfg.Unfit == nil {
		return nil
	}
	err := c.cfg.Unfit()
	if err != nil {
		c.leaseEnd.Store(0)
	}
	return err
}

// awaitFitness waits until this broker may lead. False: the client was closed.
func (c *Client) awaitFitness() bool {
	said := false
	for c.stopped.Err() == nil {
		err := c.unfit()
		if err == nil {
			if said {
				c.log.Info("this broker may lead again", "broker", c.cfg.Node)
			}
			return true
		}
		if !said {
			c.log.Error("this broker gives up what it leads, until that is over", "broker", c.cfg.Node, "error", err)
		}
		said = true
		_ = sleep(c.stopped, c.timing.Heartbeat)
	}
	return false
}
