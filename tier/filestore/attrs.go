package filestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

const defaultContentType = "application/octet-stream"

// attrs is the extended attribute of an object, in JSON.
type attrs struct {
	ContentType        string            `json:"content_type,omitempty"`
	MD5                []byte            `json:"md5,omitempty"`
	CacheControl       string            `json:"cache_control,omitempty"`
	ContentDisposition string            `json:"content_disposition,omitempty"`
	ContentEncoding    string            `json:"content_encoding,omitempty"`
	ContentLanguage    string            `json:"content_language,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"`
}

func (a attrs) store(f File) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	err = f.SetAttr(data)
	if errors.Is(err, errors.ErrUnsupported) {
		if len(a.Metadata) > 0 {
			return &errKind{gcerrors.Unimplemented, "this file system keeps no extended attributes, so no user metadata"}
		}
		return nil
	}
	return err
}

func loadAttrs(f File) (attrs, error) {
	a := attrs{ContentType: defaultContentType}
	data, err := f.Attr()
	if err != nil || data == nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("parse the extended attribute %s: %w", attrName, err)
	}
	return a, nil
}

// open opens the file of a key for reading.
func (s *Store) open(key string) (File, Info, error) {
	name, ok := pathOf(key)
	if !ok {
		return nil, Info{}, notFound(key)
	}
	f, err := s.fs.Open(name)
	if isAbsent(err) {
		return nil, Info{}, notFound(key)
	}
	if err != nil {
		return nil, Info{}, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir {
		err = notFound(key)
	}
	if err != nil {
		return nil, Info{}, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Attributes implements [driver.Bucket].
func (s *Store) Attributes(_ context.Context, key string) (*driver.Attributes, error) {
	f, info, err := s.open(key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := loadAttrs(f)
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{
		CacheControl:       a.CacheControl,
		ContentDisposition: a.ContentDisposition,
		ContentEncoding:    a.ContentEncoding,
		ContentLanguage:    a.ContentLanguage,
		ContentType:        a.ContentType,
		Metadata:           a.Metadata,
		ModTime:            info.ModTime,
		Size:               info.Size,
		MD5:                a.MD5,
		ETag:               fmt.Sprintf("\"%x-%x\"", info.ModTime.UnixNano(), info.Size),
	}, nil
}
