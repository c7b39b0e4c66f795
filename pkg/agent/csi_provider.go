// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/securevalue/secret-apiserver/pkg/agent/csiproviderv1alpha1"
	"github.com/securevalue/secret-apiserver/pkg/agent/csiproviderv1alpha1/csiproviderv1alpha1connect"
	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

const (
	// maxMounts is how many mounts are served concurrently, with up to 128 values in memory each. Others wait.
	maxMounts = 8
	// keepTime is how long the values of a volume are kept after its last mount: more than the kubelet and the driver
	// let pass between two of them.
	keepTime = 10 * time.Minute
	// maxKept bounds the bytes of all values that are kept. Those of further volumes are decrypted for each mount.
	maxKept = 32 << 20
)

// provider gives the driver the files of volumes. It acts with the tokens of the Pods and has no permission.
//
// Each mount asks the server for the versions that the Pod can open now. When they are those of the last mount of the
// volume, nothing is decrypted again. The files are in the answer even so: the request does not show whether the volume
// is mounted, and a Pod whose first mount failed after our answer would start with an empty one.
type provider struct {
	*options
	client *client.Client
	places chan struct{}
	mounts *prometheus.CounterVec

	mu    sync.Mutex
	kept  map[volumeID]*keptVolume
	bytes int
}

var _ csiproviderv1alpha1connect.CSIDriverProviderHandler = (*provider)(nil)

// keptVolume is what the last mount of a volume answered.
type keptVolume struct {
	namespace string
	files     []csiFile
	versions  map[string]string
	values    values
	bytes     int
	expiry    *time.Timer
}

func newProvider(o *options, c *client.Client) *provider {
	return &provider{
		options: o, client: c, places: make(chan struct{}, maxMounts), kept: map[volumeID]*keptVolume{},
		mounts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "secret_agent_csi_mounts_total",
			Help: "Mounts that the driver asked for, by result: decrypted, unchanged, or the code of the error.",
		}, []string{"result"}),
	}
}

// tokenKey is that of the token of a Pod in the context of a mount.
type tokenKey struct{}

func tokenOf(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}

// Version implements the protocol of the driver.
func (p *provider) Version(
	context.Context, *connect.Request[csiproviderv1alpha1.VersionRequest],
) (*connect.Response[csiproviderv1alpha1.VersionResponse], error) {
	return connect.NewResponse(&csiproviderv1alpha1.VersionResponse{
		Version: "v1alpha1", RuntimeName: "secret-agent", RuntimeVersion: strings.TrimPrefix(version, "v"),
	}), nil
}

// Mount implements the protocol of the driver. The driver reports an error of a first mount as an event of the Pod and
// drops that of a later one, hence the log and the metric.
func (p *provider) Mount(
	ctx context.Context, r *connect.Request[csiproviderv1alpha1.MountRequest],
) (*connect.Response[csiproviderv1alpha1.MountResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	v, err := newCSIVolume(r.Msg)
	var response *csiproviderv1alpha1.MountResponse
	result := ""
	if err == nil {
		response, result, err = p.mount(context.WithValue(ctx, tokenKey{}, v.token), v, r.Msg.GetCurrentObjectVersion())
	}
	if err != nil {
		result = connect.CodeOf(err).String()
		p.log.Printf("mounting a volume of Pod %s: %s", v.pod, oneLine(err))
	}
	p.mounts.WithLabelValues(result).Inc()
	return connect.NewResponse(response), err
}

// mount returns the files of a volume, or an error for all of them.
func (p *provider) mount(
	ctx context.Context, v *csiVolume, current []*csiproviderv1alpha1.ObjectVersion,
) (_ *csiproviderv1alpha1.MountResponse, result string, _ error) {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-ctx.Done():
		return nil, "", connect.NewError(connect.CodeUnavailable, errors.New("too many mounts at the same time"))
	}
	versions, _ := p.client.Versions(ctx, v.namespace, v.names()...) // what is wrong shows below
	last := p.recall(v, versions)
	if last == nil {
		values, err := p.client.Get(ctx, v.namespace, v.names()...)
		if err != nil {
			return nil, "", p.refusal(v, err)
		}
		response, err := v.respond(values, versions)
		if err == nil {
			p.keep(v, versions, values)
		}
		return response, "decrypted", err
	}
	response, err := v.respond(last.values, versions)
	if err == nil && slices.Equal(v.files, last.files) && maps.Equal(byID(response.GetObjectVersion()), byID(current)) {
		response.Files = nil // an older driver says what is mounted
	}
	return response, "unchanged", err
}

// byID returns versions by the id of their secret.
func byID(versions []*csiproviderv1alpha1.ObjectVersion) map[string]string {
	texts := map[string]string{}
	for _, v := range versions {
		texts[v.GetId()] = v.GetVersion()
	}
	return texts
}

type codeOf struct {
	err  error
	code connect.Code
}

// codes are those of the errors of the client; others are internal.
var codes = []codeOf{
	{client.ErrUnavailable, connect.CodeUnavailable},
	{context.DeadlineExceeded, connect.CodeUnavailable},
	{context.Canceled, connect.CodeCanceled},
	{client.ErrUnauthenticated, connect.CodeUnauthenticated},
	{client.ErrNotAuthorized, connect.CodePermissionDenied},
	{client.ErrNotFound, connect.CodeNotFound},
}

// refusal explains an error of the client, and forgets what is kept of a volume that the Pod may not have any more.
func (p *provider) refusal(v *csiVolume, err error) error {
	code := connect.CodeInternal
	if i := slices.IndexFunc(codes, func(c codeOf) bool { return errors.Is(err, c.err) }); i >= 0 {
		code = codes[i].code
	}
	if code != connect.CodeUnavailable && code != connect.CodeCanceled {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.drop(v.id, p.kept[v.id])
	}
	c := caller{parseClaims(v.token), "the token of the Pod", "the Pod of secret-agent csi", v.namespace}
	return connect.NewError(code, errors.New(oneLine(p.explainTo(c, err))))
}

// recall returns what is kept of a volume if the versions are the same.
func (p *provider) recall(v *csiVolume, versions map[string]string) *keptVolume {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.kept[v.id]
	if last == nil || last.namespace != v.namespace || !maps.Equal(last.versions, versions) || !last.expiry.Stop() {
		return nil
	}
	last.expiry.Reset(keepTime)
	return last
}

// keep keeps the values of a volume for the next mount. versions are from before they were decrypted.
func (p *provider) keep(v *csiVolume, versions map[string]string, values values) {
	k := &keptVolume{namespace: v.namespace, files: v.files, versions: versions, values: values}
	for _, value := range values {
		k.bytes += len(value.Expose())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(v.id, p.kept[v.id])
	if len(versions) == 0 || p.bytes+k.bytes > maxKept {
		return
	}
	p.kept[v.id], p.bytes = k, p.bytes+k.bytes
	k.expiry = time.AfterFunc(keepTime, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.drop(v.id, k)
	})
}

// drop forgets a volume, unless it was mounted again since.
func (p *provider) drop(id volumeID, k *keptVolume) {
	if k == nil || p.kept[id] != k {
		return
	}
	k.expiry.Stop()
	delete(p.kept, id)
	p.bytes -= k.bytes
}

func (p *provider) volumes() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(len(p.kept))
}
