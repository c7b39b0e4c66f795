// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3/testserver"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

const (
	etcdPrefix     = "/registry"
	resourcePrefix = "/secret.grafana.app/securevalues"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard()) // upstream logs each ciphertext that does not open
	os.Exit(m.Run())
}

// runEtcd starts a member that elects itself at once, and returns a client of it.
func runEtcd(t testing.TB) *kubernetes.Client {
	t.Helper()
	config := testserver.NewTestConfig(t)
	config.TickMs, config.ElectionMs = 10, 50
	config.WatchProgressNotifyInterval = time.Second
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop()) // it reports its own end as errors
	client := testserver.RunEtcd(t, config)
	t.Cleanup(func() { _ = client.Close() }) // an open watch holds the member up for seconds
	return client
}

// stack is the storage as the server builds it, with a transformer that can fail.
type stack struct {
	storage.Interface
	sealer *Sealer
	keys   *switchable
	etcd   *kubernetes.Client
	codec  *Codec
	getter *RESTOptionsGetter
}

type optionsGetter func(schema.GroupResource) (generic.RESTOptions, error)

func (g optionsGetter) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return g(resource)
}

func getAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	sv := obj.(*secret.SecureValue)
	return sv.Labels, fields.Set{"metadata.name": sv.Name, "metadata.namespace": sv.Namespace}, nil
}

// newStack builds the storage over its own etcd, through RESTOptionsGetter, with the real etcd3 store and the
// real watch cache.
func newStack(t testing.TB, watchCache bool) *stack {
	t.Helper()
	s := &stack{etcd: runEtcd(t), codec: NewCodec(objectCodec())}
	s.keys = &switchable{Transformer: newTransformer(t, "aesgcm"), Configuration: newConfiguration(t, "aesgcm")}
	s.sealer = NewSealer(s.keys, s.keys)

	config := storagebackend.NewDefaultConfig(etcdPrefix, objectCodec())
	config.Transport.ServerList = s.etcd.Endpoints()
	getter := NewRESTOptionsGetter(optionsGetter(func(resource schema.GroupResource) (generic.RESTOptions, error) {
		return generic.RESTOptions{StorageConfig: config.ForResource(resource)}, nil
	}), s.sealer, watchCache, Remote)
	opts, err := getter.GetRESTOptions(secret.GroupResource, &secret.SecureValue{})
	if err != nil {
		t.Fatal(err)
	}
	store, destroy, err := opts.Decorator(opts.StorageConfig, resourcePrefix,
		func(obj runtime.Object) (string, error) { return storage.NamespaceKeyFunc(resourcePrefix+"/", obj) },
		func() runtime.Object { return &secret.SecureValue{} },
		func() runtime.Object { return &secret.SecureValueList{} },
		getAttrs, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	s.Interface, s.getter = store, getter
	err = wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { return store.ReadinessCheck() == nil, nil })
	if err != nil {
		t.Fatalf("the watch cache does not become ready: %v", err)
	}
	return s
}

// forBoth runs a test with and without the watch cache.
func forBoth(t *testing.T, test func(t *testing.T, s *stack)) {
	t.Helper()
	t.Run("store", func(t *testing.T) { t.Parallel(); test(t, newStack(t, false)) })
	t.Run("watch cache", func(t *testing.T) { t.Parallel(); test(t, newStack(t, true)) })
}
