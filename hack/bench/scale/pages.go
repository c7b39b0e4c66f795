// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/securevalue/secret-apiserver/hack/bench/load"
	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/wire"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// pages walks through all values as client-go's pager does, from page to page, at least minPages.
const minPages = 400

func (r *Run) pages(ctx context.Context) error {
	connection, err := wire.Dial(ctx, r.side.Address, r.side.Client)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	recorder := measure.NewRecorder()
	collection := fmt.Sprintf("%s?limit=%d", load.SecureValues.Collection(namespace), load.PageSize)
	for recorder.Total() < minPages && ctx.Err() == nil {
		seen, next := 0, ""
		for {
			list, err := r.page(connection, recorder, collection+next)
			if err != nil {
				return err
			}
			seen += len(list.Items)
			if list.Continue == "" {
				break
			}
			next = "&continue=" + url.QueryEscape(list.Continue)
		}
		if seen != r.Objects {
			return fmt.Errorf("the pages have %d values, want %d", seen, r.Objects)
		}
	}
	r.count("pages", recorder)
	for _, percent := range []float64{50, 99, 99.9} {
		r.Report.Add(fmt.Sprintf("page of %d: p%v", load.PageSize, percent), seconds(recorder.Quantile(percent))*1000, "ms")
	}
	return ctx.Err()
}

// page gets one page; only the request is timed.
func (r *Run) page(connection *wire.Conn, recorder *measure.Recorder, path string) (*v1beta1.SecureValueList, error) {
	var body []byte
	started := time.Now()
	status, err := connection.Do(wire.Request{Method: http.MethodGet, Path: path, Accept: "application/vnd.kubernetes.protobuf"},
		func(part []byte) { body = append(body, part...) })
	recorder.Add(time.Since(started), status, err)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %d", path, status)
	}
	return decodeList(body)
}

// decodeList reads a list in Kubernetes' protobuf envelope.
func decodeList(body []byte) (*v1beta1.SecureValueList, error) {
	const magic = "k8s\x00"
	var envelope runtime.Unknown
	list := &v1beta1.SecureValueList{}
	if len(body) < len(magic) || string(body[:len(magic)]) != magic {
		return nil, fmt.Errorf("a list of %d bytes is not protobuf", len(body))
	}
	if err := envelope.Unmarshal(body[len(magic):]); err != nil {
		return nil, err
	}
	return list, list.Unmarshal(envelope.Raw)
}
