// Package tier moves committed batches into the object store and reads them
// back.
package tier
