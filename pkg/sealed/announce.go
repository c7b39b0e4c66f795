// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

// Fence is the protocol by which the writes of this program respect retired keys: see Server.
const Fence = 1

const (
	// announcementTTL is how long the announcement of a server that was killed or paused stays, in seconds.
	announcementTTL = 20
	// announceInterval is how often a server compares its announcement with its state.
	announceInterval = time.Second
	// announceTimeout bounds one call to etcd, revokeTimeout the one at the end: it must not delay a stop.
	announceTimeout = 5 * time.Second
	revokeTimeout   = time.Second
	// maxAnnouncedText bounds instance and version: anybody with write access to etcd may write any.
	maxAnnouncedText = 253
)

// Server is what a running server announces in etcd. It is information: a server that is paused or cut off from etcd
// has no announcement and may write again later.
type Server struct {
	// Instance is the name of the server; several servers may have the same.
	Instance string `json:"instance,omitempty"`
	// Version is the version of the program, Fence the protocol by which its writes respect retired keys, 0 for none.
	Version string `json:"version"`
	Fence   int    `json:"fence"`
	// WriteKey is the active write key, as in status.key; "" while a KMS is unavailable. Keys are all keys of the file.
	WriteKey string   `json:"writeKey"`
	Keys     []string `json:"keys"`
	// Loads counts the key files that were in force since Started; the current one since Loaded.
	Loads  int       `json:"loads"`
	Loaded time.Time `json:"loaded"`
	// Refused is set while the file on disk is refused or unreadable, and the last good one stays in force.
	Refused bool      `json:"refused"`
	Started time.Time `json:"started"`
	// Fault is set for an entry that is not an announcement of this program; then only Instance is set as well.
	Fault string `json:"fault,omitempty"`
}

// Etcd is the part of an etcd client that a server uses beside the store.
type Etcd interface {
	clientv3.KV
	clientv3.Lease // its Close is that of the client
}

// announcementRoot is the key prefix of all announcements; INSTANCE/LEASE follows, so that two servers with one name
// have two.
func announcementRoot(etcdPrefix string) string { return path.Join("/", etcdPrefix, "servers") + "/" }

// LiveServers returns the servers that are announced under etcdPrefix (--etcd-prefix) at a revision of etcd, 0 for the
// current one, in the order of their names. It never quotes an entry that is not an announcement: see Server.Fault. It
// returns ErrCompacted if the revision was compacted.
func LiveServers(ctx context.Context, kv clientv3.KV, etcdPrefix string, revision int64) ([]Server, error) {
	root := announcementRoot(etcdPrefix)
	got, err := kv.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(revision))
	if errors.Is(err, rpctypes.ErrCompacted) {
		return nil, ErrCompacted
	}
	if err != nil {
		return nil, fmt.Errorf("reading the announcements of the servers: %w", err)
	}
	servers := make([]Server, len(got.Kvs))
	for i, entry := range got.Kvs {
		servers[i] = parseAnnouncement(strings.TrimPrefix(string(entry.Key), root), entry)
	}
	return servers, nil
}

func parseAnnouncement(name string, entry *mvccpb.KeyValue) Server {
	instance, lease, _ := strings.Cut(name, "/")
	if unescaped, err := url.PathUnescape(instance); err == nil {
		instance = unescaped
	}
	instance = escape(instance[:min(len(instance), maxAnnouncedText)])
	var s Server
	err := json.Unmarshal(entry.Value, &s)
	if err != nil || entry.Lease == 0 || lease != leaseName(clientv3.LeaseID(entry.Lease)) || s.Version == "" ||
		len(s.Version) > maxAnnouncedText || !secret.IsPrintable(s.Version) {
		return Server{Instance: instance, Fault: "not an announcement of a server"}
	}
	s.Instance, s.Fault, s.WriteKey = instance, "", secret.ShowKey(s.WriteKey)
	for i, key := range s.Keys {
		s.Keys[i] = secret.ShowKey(key)
	}
	return s
}

func leaseName(id clientv3.LeaseID) string { return strconv.FormatInt(int64(id), 16) }

// maxServerSeries bounds the series of runningServers.
const maxServerSeries = 20

// serverLabels are the labels of runningServers.
type serverLabels struct{ writeKey, version string }

// Metrics are registered late: feature gates must be parsed before.
var (
	runningServers = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: "secret_servers",
		Help: "Servers that announce themselves in this server's etcd, by their write key (\"\" while a KMS is " +
			"unavailable) and version. Read every few seconds; no series while this server has no answer from etcd.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"write_key", "version"})

	registerAnnounceMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(runningServers) })
)

// announcer keeps one announcement.
type announcer struct {
	client    Etcd
	prefix    string
	name      string // of the key under announcementRoot, without the lease
	state     func() Server
	ttl       int64                // seconds
	down      bool                 // the last attempt failed, which is logged
	published map[serverLabels]int // in runningServers
}

// Announce keeps what state returns in etcd under etcdPrefix (--etcd-prefix), as instance, and removes it when ctx
// ends, for which it takes a second at most. It writes a changed state within a second. Without etcd it logs that once
// and retries. state must be safe for concurrent use.
func Announce(ctx context.Context, client Etcd, etcdPrefix, instance string, state func() Server) {
	registerAnnounceMetrics()
	name := url.PathEscape(instance)
	a := &announcer{client: client, prefix: etcdPrefix, name: name, state: state, ttl: announcementTTL}
	a.run(ctx)
}

func (a *announcer) run(ctx context.Context) {
	ctx = etcd.Reserved(ctx) // also on a nearly full disk
	fresh := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.1, Steps: 5}
	for backoff := fresh; ctx.Err() == nil; {
		err := a.hold(ctx)
		if ctx.Err() != nil {
			return
		}
		if !a.down {
			a.down, backoff = true, fresh
			klog.ErrorS(err, "This server is not announced in etcd: \"keys report\" does not list it; retrying")
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff.Step()):
		}
	}
}

// hold announces the server under a new lease until the lease is lost or ctx ends.
func (a *announcer) hold(ctx context.Context) error {
	granting, cancel := context.WithTimeout(ctx, announceTimeout)
	lease, err := a.client.Grant(granting, a.ttl)
	cancel()
	if err != nil {
		return fmt.Errorf("granting a lease: %w", err)
	}
	held, release := context.WithCancel(ctx)
	defer a.revoke(ctx, lease.ID)
	defer release()
	defer a.publish(nil)
	alive, err := a.client.KeepAlive(held, lease.ID)
	if err != nil {
		return fmt.Errorf("keeping a lease alive: %w", err)
	}
	ticker := time.NewTicker(announceInterval)
	defer ticker.Stop()
	var written []byte
	for {
		if written, err = a.write(ctx, lease.ID, written); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-alive:
			if !ok {
				return errors.New("the lease expired: etcd did not answer, or this process was paused")
			}
			a.count(ctx)
		case <-ticker.C:
		}
	}
}

// write writes the announcement unless it is the one written before.
func (a *announcer) write(ctx context.Context, lease clientv3.LeaseID, written []byte) ([]byte, error) {
	value, err := json.Marshal(a.state())
	if err != nil || bytes.Equal(value, written) {
		return written, err
	}
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	key := announcementRoot(a.prefix) + a.name + "/" + leaseName(lease)
	if _, err := a.client.Put(ctx, key, string(value), clientv3.WithLease(lease)); err != nil {
		return nil, fmt.Errorf("writing the announcement: %w", err)
	}
	if a.down {
		a.down = false
		klog.InfoS("This server is announced in etcd again")
	}
	return value, nil
}

// count publishes the servers of this etcd. After an error those of the last time stay: the lease decides.
func (a *announcer) count(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	servers, err := LiveServers(ctx, a.client, a.prefix, 0)
	if err != nil {
		return
	}
	counts := map[serverLabels]int{}
	for _, s := range servers {
		labels := serverLabels{s.WriteKey, s.Version}
		if _, known := counts[labels]; !known && len(counts) >= maxServerSeries {
			labels = serverLabels{"others", "others"}
		}
		if s.Fault == "" {
			counts[labels]++
		}
	}
	a.publish(counts)
}

func (a *announcer) publish(counts map[serverLabels]int) {
	if maps.Equal(counts, a.published) {
		return
	}
	runningServers.Reset()
	for labels, n := range counts {
		runningServers.WithLabelValues(labels.writeKey, labels.version).Set(float64(n))
	}
	a.published = counts
}

// revoke removes the announcement. If it fails, the announcement goes with its lease.
func (a *announcer) revoke(ctx context.Context, lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if _, err := a.client.Revoke(ctx, lease); err != nil {
		klog.V(1).ErrorS(err, "Could not remove the announcement of this server; it ends with its lease")
	}
}
