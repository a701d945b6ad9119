package kafkaproto

// What there is of security on this listener: TLS and the principal of the client's certificate, in Config; and that the broker authorises each request. Access rules and credentials that clients could
// look at and change there are none of, and the APIs for them say that, after the question whether the session may ask at all. Whatever keeps such things is asked in the place of errNoRules and the others.

// errNoRules is the answer to whatever is about access rules.
func errNoRules() error {
	return kafkaErrorf(securityDisabled, "this cluster has no access rules that clients could look at or change")
}

// errNoCredentials is the answer to whatever is about users' credentials.
func errNoCredentials() error {
	return kafkaErrorf(securityDisabled, "this cluster has no credentials of users: clients are known by their certificates")
}

// mayAsk is err, or why s may not even ask: about the cluster or, with alter, for a change of it.
func (c *call) mayAsk(alter bool, err error) error {
	if denied := c.broker().AuthoriseCluster(c.session, alter); denied != nil {
		return denied
	}
	return err
}
