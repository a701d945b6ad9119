// Package clouds has the stores of Amazon S3, Google Cloud Storage and Azure Blob
// Storage for package tier. It is a package of its own so that what is built on
// tier is not built on the clouds' SDKs, which are larger than everything else.
//
// # What it does not do
//
// It reads, lists and deletes nothing: gocloud's buckets do. Limits, classes and
// the meaning of errors are [tier.Store]'s.
//
// # Invariants
//
//   - A write creates, or fails. What arrives is compared by the store with a
//     checksum.
//   - Credentials come from where a cloud's own tools find them, or from a file;
//     no error shows them.
package clouds
