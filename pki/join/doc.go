// Package join gets a new node its certificate: by a token that is good for one node, once, for a while.
//
//	operator   CreateToken at any node ([Server.CreateToken])
//	new node   draws a key; dials the address in the token; believes the authority whose fingerprint the token has, and
//	           only then tells the secret ([Join])
//	that node  uses the token up, and signs ([Server.Join]); one without the authority's key has one that has it do so ([Server.Admit])
//
// A token is text:
//
//	rustmq-join-1. base64url( body , CRC-32C of the body, 4 bytes )
//	body: cluster id 16 | authority's SHA-256 32 | token id 16 | secret 32 | node id 4 | expiry 8, Unix seconds | address, the rest
//
// Numbers are big-endian. Another digit than 1 is another version.
//
// # What it does not do
//
// It opens no socket, and decides nothing about which nodes there may be. Where tokens are kept is up to [Tokens].
//
// # Invariants
//
//  1. A token's secret is told only to who has shown a certificate of the authority that the token names.
//  2. A token is kept as a hash, is compared in constant time, and is used once, on all nodes together: whatever happens after, it is gone.
//  3. Whoever has no good token learns nothing by his answers: not whether a token exists, was used, or has expired. He may try a few times
//     a second, at any node.
//  4. Of a certificate request only the key and the hosts are taken; node and cluster are the token's.
package join
