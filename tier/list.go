package tier

import (
	"context"
	"encoding/base64"
	"strings"

	"gocloud.dev/blob"

	"github.com/rustmq/rustmq/mq"
)

// ObjectPage lists some objects of a cluster, by its prefix, in the order of keys, which is that of their ids. page says where: empty for the first one, else what the last call gave; next is
// empty behind the last one.
func (s *Store) ObjectPage(ctx context.Context, prefix, page string) (objects []Info, next string, err error) {
	token := blob.FirstPageToken
	if page != "" {
		if token, err = base64.RawURLEncoding.DecodeString(page); err != nil {
			return nil, "", mq.Errorf(mq.InvalidRequest, "list objects: page %.80q is none: %w", page, err)
		}
	}
	err = fewTries(ctx, func() error {
		list, more, err := s.page(ctx, objectsDir(prefix), token, listPage)
		if err != nil {
			return err
		}
		objects, next = objects[:0], ""
		for _, o := range list {
			objects = append(objects, Info{o.Key, o.Size, o.ModTime})
		}
		if len(more) > 0 {
			next = base64.RawURLEncoding.EncodeToString(more)
		}
		return nil
	})
	return objects, next, err
}

// Clusters lists the clusters that have written into a bucket, by the prefixes that are there.
func Clusters(ctx context.Context, s *Store) (clusters []mq.ClusterID, err error) {
	for token := blob.FirstPageToken; len(token) > 0; {
		list, next, err := s.dirs(ctx, token)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if id, err := mq.ParseClusterID(strings.TrimSuffix(o.Key, "/")); err == nil && o.IsDir {
				clusters = append(clusters, id)
			}
		}
		token = next
	}
	return clusters, nil
}

func (s *Store) dirs(ctx context.Context, token []byte) ([]*blob.ListObject, []byte, error) {
	r, err := s.begin(ctx, opList, 0)
	if err != nil {
		return nil, nil, err
	}
	defer r.end()
	list, next, err := s.bucket.ListPage(r.ctx, token, listPage, &blob.ListOptions{Delimiter: "/"})
	if err != nil {
		return nil, nil, r.fail(err, "list what is in the object store")
	}
	return list, next, nil
}
