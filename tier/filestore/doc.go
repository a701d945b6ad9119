// Package filestore is a durable [driver.Bucket] on a directory: the file://
// object store of a laptop, a single node, or a mounted network file system.
//
// It exists because gocloud's own fileblob lets several writers of one key win
// with IfNotExist and never syncs.
//
// # Invariants
//
//   - An object is durable, with every directory above it, when its writer's
//     Close returns nil. Until then it cannot be seen.
//   - With IfNotExist exactly one of any number of writers, in any number of
//     processes, wins; the others get FailedPrecondition.
//   - A write that fails or is cancelled leaves nothing behind but, after a
//     crash, a file in the directory .tmp that a later Open removes.
//   - A store vouches for what it wrote only as long as each of its files was on a
//     device of this machine ([Store.Vouches]).
//   - A key never leaves the directory, whatever it is and whatever symbolic
//     links lie about (os.Root).
//
// # What it does not do
//
// It does not offer signed URLs. A key that is also a prefix of another with a
// slash ("a" and "a/b") cannot be stored beside it. A component of a key longer
// than 255 bytes once escaped is refused. Reading needs no write permission.
//
// # Layout
//
//	DIR/.tmp/RANDOM                objects being written
//	DIR/objects/00/07.rmq          the object with the key "objects/00/07.rmq"
//
// A key's components are file names, with every byte other than a-z, 0-9 and
// -_.=,@ as %xx in lower-case hex (so that case-insensitive and normalising
// file systems cannot merge two keys), a leading dot as %2e, and an empty
// component as %. Files whose names are not of that form are not ours and are
// left alone.
//
// Content type, MD5 and user metadata are a JSON object in the extended
// attribute user.rustmq.blob. Where the file system has no extended attributes,
// writing user metadata is refused and the rest is not kept. The MD5 is that
// which the writer gave, or is computed unless [Options].SkipMD5.
//
// # How an object is written
//
//	create .tmp/R, write, set attributes, fsync
//	mkdir each missing directory, fsync its parent
//	link .tmp/R to its name (IfNotExist) or rename it there
//	fsync the directory, unlink .tmp/R
package filestore
