// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/testing/kmsplugin"
)

// database is an etcd with what servers have stored.
type database struct {
	*clientv3.Client
	scanner *sealed.Scanner
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return &database{Client: server.Client(),
		scanner: sealed.NewScanner(server.Client(), apiserver.NewStorageCodec(), "/test")}
}

// store seals values as a server with the configuration p would, and returns their keys in etcd.
func (d *database) store(t *testing.T, p *Provider, names ...string) (keys []string) {
	t.Helper()
	sealer := sealed.NewSealer(p.Transformer(), p) //nolint:forbidigo // a server makes one in pkg/server/options
	for _, name := range names {
		sv := &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
		var err error
		if sv.Sealed, err = sealer.Seal(t.Context(), sv, "canary"); err != nil {
			t.Fatal(err)
		}
		var frame bytes.Buffer
		if err := sealer.Codec(apiserver.NewStorageCodec()).Encode(sv, &frame); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, sealed.RecordRoot("/test")+"ns/"+name)
		d.put(t, keys[len(keys)-1], frame.Bytes())
	}
	return keys
}

func (d *database) put(t *testing.T, key string, record []byte) {
	t.Helper()
	if _, err := d.Put(t.Context(), key, string(record)); err != nil {
		t.Fatal(err)
	}
}

// damage flips the last bit of a record.
func (d *database) damage(t *testing.T, key string) {
	t.Helper()
	got, err := d.Get(t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatal(err)
	}
	record := got.Kvs[0].Value
	record[len(record)-1] ^= 1
	d.put(t, key, record)
}

// named is a key of this name whose secret is made of the letter.
func named(name, letter string) string {
	return strings.Replace(aesgcm(letter), "name: "+letter, "name: "+name, 1)
}

func refuses(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: taken", what)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q is not in %v", what, text, err)
		}
	}
}

// A start compares the secrets of its local keys with what is stored. A damaged record does not prove a secret wrong.
func TestStartRefusesAnotherSecret(t *testing.T) {
	d := newDatabase(t)
	keys := d.store(t, newProvider(t, configuration(named("key", "a"))), "one", "two")
	start := func(config string) error { return newProvider(t, config).UseStored(t.Context(), d.scanner) }
	for what, config := range map[string]string{
		"the same":          configuration(named("key", "a")),
		"behind a new one":  configuration(named("new", "b"), named("key", "a")),
		"another name":      configuration(named("new", "b")),
		"another provider":  configuration(strings.Replace(named("key", "b"), "aesgcm", "secretbox", 1)),
		"behind a dead KMS": configuration(kms("away", "/nowhere/kms.sock"), named("key", "a")),
	} {
		if err := start(config); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, config := range map[string]string{
		"writer":            configuration(named("key", "b")),
		"reader":            configuration(named("new", "b"), named("key", "b")),
		"behind a dead KMS": configuration(kms("away", "/nowhere/kms.sock"), named("key", "b")),
	} {
		refuses(t, what, start(config), "the secret of aesgcm/key opens none of the values", "ns/two",
			"use a new key name")
	}
	d.damage(t, keys[0])
	if err := start(configuration(named("key", "a"))); err != nil {
		t.Errorf("one damaged record: %v", err)
	}
	d.damage(t, keys[1])
	refuses(t, "nothing opens", start(configuration(named("key", "a"))), "aesgcm/key")
	if err := start(configuration(named("another", "a"))); err != nil {
		t.Errorf("the way out of damage: %v", err)
	}
}

// A key that only opens is searched in the first records of a large store; the write key in all of it.
func TestStartReadsNoMoreThanItNeeds(t *testing.T) {
	d := newDatabase(t)
	d.store(t, newProvider(t, configuration(named("first", "a"))), "a", "b", "c")
	d.store(t, newProvider(t, configuration(named("last", "b"))), "z")
	keys := func(config string) (*Configuration, error) { return Parse([]byte(config)) }
	for _, test := range []struct {
		must  string
		limit int64
		want  int
	}{{"aesgcm/first", 3, 0}, {"aesgcm/first", 4, 1}, {"aesgcm/first", 0, 1}, {"aesgcm/last", 1, 1}} {
		config, err := keys(configuration(named("first", "a"), named("last", "x")))
		if err != nil {
			t.Fatal(err)
		}
		wrong, err := d.scanner.WrongSecrets(t.Context(), config.Names(), config.LocalKeys(), test.must, test.limit)
		if err != nil || len(wrong) != test.want {
			t.Errorf("must %s, limit %d: %v, %v", test.must, test.limit, wrong, err)
		}
	}
}

// A reload compares with every configuration since the start, and keys that are new to it with what is stored.
func TestReloadRefusesAnotherSecret(t *testing.T) {
	d := newDatabase(t)
	d.store(t, newProvider(t, configuration(named("other", "o"))), "elsewhere")
	p := newProvider(t, configuration(named("key", "a")))
	if err := p.UseStored(t.Context(), d.scanner); err != nil {
		t.Fatal(err)
	}
	refused := func(what, config string, want ...string) {
		t.Helper()
		before := p.inForce.Load()
		p.rewrite(t, config)
		err := p.FileFault()
		if err == nil || p.inForce.Load() != before {
			t.Errorf("%s: taken", what)
			return
		}
		refuses(t, what, err, want...)
	}
	taken := func(what, config string) {
		t.Helper()
		p.rewrite(t, config)
		if err := p.FileFault(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("writer", configuration(named("key", "b")), "another secret for aesgcm/key than the one that was in force",
		"restart the server with the right one")
	refused("reader", configuration(named("new", "n"), named("key", "b")), "aesgcm/key")
	taken("rotation", configuration(named("new", "n"), named("key", "a")))
	taken("without the old key", configuration(named("new", "n")))
	refused("it comes back with another secret", configuration(named("new", "n"), named("key", "b")), "aesgcm/key")
	taken("it comes back", configuration(named("new", "n"), named("key", "a")))
	refused("a key of another replica", configuration(named("new", "n"), named("other", "x")),
		"the secret of aesgcm/other opens none", "ns/elsewhere")
	taken("the right one", configuration(named("new", "n"), named("other", "o")))
}

// While etcd does not answer a reload that brings a key waits, and one that brings none does not.
func TestReloadWithoutEtcd(t *testing.T) {
	d := newDatabase(t)
	p := newProvider(t, configuration(named("key", "a"), named("old", "o")))
	if err := p.UseStored(t.Context(), d.scanner); err != nil {
		t.Fatal(err)
	}
	down := &failing{Stored: d.scanner, err: context.DeadlineExceeded}
	p.stored = down
	p.rewrite(t, configuration(named("key", "a")))
	if err := p.FileFault(); err != nil {
		t.Errorf("a reload that takes a key away: %v", err)
	}
	p.rewrite(t, configuration(named("new", "n"), named("key", "a")))
	if err := p.FileFault(); err == nil || !strings.Contains(err.Error(), "comparing the keys with the stored values") {
		t.Errorf("a new key: %v", err)
	}
	down.err = nil
	p.file.Check(t.Context(), false)
	if err := p.FileFault(); err != nil {
		t.Errorf("etcd is back: %v", err)
	}
}

// failing is a database that can be away.
type failing struct {
	Stored
	err error
}

func (f *failing) WrongSecrets(ctx context.Context, names []string, keys map[string]value.Transformer, must string,
	limit int64) (map[string]string, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Stored.WrongSecrets(ctx, names, keys, must, limit)
}

// Values whose key the file lacks are counted, and so are those whose key has another secret beyond what a start reads.
func TestMissingKeysAreCounted(t *testing.T) {
	d := newDatabase(t)
	d.store(t, newProvider(t, configuration(named("lost", "l"))), "a", "b", "c")
	d.store(t, newProvider(t, configuration(named("kept", "k"))), "d")
	d.put(t, sealed.RecordRoot("/test")+"ns/raw", rawRecord("k8s:enc:aesgcm:v1:\x1b[2J\xff:data"))
	p := newProvider(t, configuration(named("new", "n"), named("kept", "k")))
	if err := p.UseStored(t.Context(), d.scanner); err != nil {
		t.Fatal(err)
	}
	var seen census
	count := func() map[string]float64 {
		t.Helper()
		if err := p.count(t.Context(), &seen); err != nil {
			t.Fatal(err)
		}
		return missingSeries(t)
	}
	if got := fmt.Sprint(count()); got != "map[aesgcm/lost:3 unreadable:1]" ||
		seen.shown != "aesgcm/lost (3), unreadable (1)" {
		t.Errorf("got %s, %q", got, seen.shown)
	}
	if p.MissingFault() == nil {
		t.Error("the missing keys are not told")
	}
	if _, err := d.Delete(t.Context(), sealed.RecordRoot("/test")+"ns/raw"); err != nil {
		t.Fatal(err)
	}
	p.rewrite(t, configuration(named("new", "n"), named("kept", "k"), named("lost", "l")))
	if got := count(); len(got) != 0 || seen.shown != "" {
		t.Errorf("after the key came back: %v, %q", got, seen.shown)
	}
	if err := p.MissingFault(); err != nil {
		t.Errorf("after the key came back: %v", err)
	}

	p = newProvider(t, configuration(named("new", "n"), named("kept", "x"), named("lost", "l")))
	p.stored, seen = d.scanner, census{} // as a start whose limit ended before
	if got := fmt.Sprint(count()); got != "map[aesgcm/kept:1]" {
		t.Errorf("a wrong secret that a start did not see: %s", got)
	}
}

// Clients with write access to etcd may write any number of names: metric and log name some and count all.
func TestMissingKeysAreBounded(t *testing.T) {
	p := newProvider(t, configuration(named("new", "n")))
	counts := map[string]int64{}
	for i := range 100 {
		counts[fmt.Sprintf("aesgcm/%03d", i)] = int64(i + 1)
	}
	text := p.showMissing(counts, "")
	series := missingSeries(t)
	if len(series) != maxMissing+1 || series["aesgcm/099"] != 100 || series["others"] != 80*81/2 ||
		strings.Count(text, ",") != maxMissing-1 {
		t.Errorf("%d series, %q: %v", len(series), text, series)
	}
	p.showMissing(nil, text)
}

func rawRecord(envelope string) []byte {
	return append([]byte{0, 's', 'v', 1, 0, 0, 0, 0, 0, 0, 0, byte(len(envelope))}, envelope...)
}

// missingSeries is the metric as it is scraped, without its zeros.
func missingSeries(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for _, family := range families {
		if family.GetName() == "secret_encryption_missing_key_values" {
			for _, s := range family.GetMetric() {
				if value := s.GetGauge().GetValue(); value > 0 {
					series[s.GetLabel()[0].GetValue()] = value
				}
			}
		}
	}
	return series
}

// The write key of a KMS is the one that its plugin confirmed, for as long as upstream seals with it. Nothing is sealed
// to learn it, and the plugin is not asked.
func TestWriteKeyOfAKMS(t *testing.T) {
	plugin := kmsplugin.Start(t)
	name := "write-key-of-a-kms"
	p := newProvider(t, configuration(strings.TrimPrefix(strings.TrimSpace(plugin.Provider(name)), "- ")))
	want := func(what, id string) {
		t.Helper()
		provider, got, keyID, err := p.WriteKey()
		if id == "" {
			if err == nil {
				t.Errorf("%s: %s/%s/%s seals", what, provider, got, keyID)
			}
			return
		}
		if err != nil || provider != "kms" || got != name || keyID != id {
			t.Errorf("%s: %s/%s/%s, %v", what, provider, got, keyID, err)
		}
	}
	calls := plugin.Calls()
	want("at the start", "key-1")
	if after := plugin.Calls(); after != calls {
		t.Errorf("the plugin was asked: %+v, then %+v", calls, after)
	}
	keys := p.keys.Load()
	keys.reported(name, "key-2", time.Now())
	want("named, and nothing wrapped under it", "key-1")
	keys.wrapped(name, "key-3")
	want("wrapped under another one than was named", "key-1")
	keys.wrapped(name, "key-2")
	want("wrapped", "key-2")
	t.Cleanup(kmsv2.SetNowFuncForTests(name, func() time.Time { return time.Now().Add(sealingTTL + time.Second) }))
	want("not confirmed for too long", "")
	keys.reported(name, "key-2", time.Now().Add(time.Minute))
	want("confirmed again", "key-2")
	if _, _, _, err := newProvider(t, configuration(kms("nobody", "/nowhere/kms.sock"))).WriteKey(); err == nil {
		t.Error("a plugin that never answered has a write key")
	}
}
