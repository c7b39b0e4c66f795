// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/internal/atomicfile"
)

// Config configures the directory and the addresses of the server.
type Config struct {
	// DataDir is created when absent, as are its parents.
	DataDir string
	// BindAddress is the IP address that the server listens on; clients reach a wildcard over loopback.
	BindAddress string
	// Port is the port of the API. Listen before Prepare if the system selects it.
	Port int
	// ExtraSANs are further names and addresses of the serving certificate: --tls-san.
	ExtraSANs []string
	// ForeignKeys is set with --encryption-provider-config: no file is then generated or read here.
	ForeignKeys bool

	now   func() time.Time // nil means time.Now
	local func() []net.IP  // nil means those of the machine
}

// Data is a complete directory, locked for this process.
type Data struct {
	cfg    Config
	dir    string
	server string
	hosts  []string // of the serving certificate at the start
	first  bool     // nothing was here before
	admin  digest
	lock   *fileutil.LockedFile
}

// Prepare locks the directory and creates what is missing in it. It reads everything before it writes anything, and
// changes nothing but the lock on failure.
func Prepare(cfg Config) (*Data, error) {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("finding data directory %s: %w", cfg.DataDir, err)
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.local == nil {
		cfg.local = localAddresses
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	d := &Data{cfg: cfg, dir: dir, server: serverURL(cfg.BindAddress, strconv.Itoa(cfg.Port)), lock: lock}
	if err := d.fill(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// serverURL is the URL for clients on this machine.
func serverURL(bind, port string) string {
	host := "127.0.0.1"
	if ip := net.ParseIP(bind); ip != nil && !ip.IsUnspecified() {
		host = ip.String()
	}
	return "https://" + net.JoinHostPort(host, port)
}

// fill reads everything, then writes what is missing, under the lock.
func (d *Data) fill() error {
	found, err := d.read()
	if err != nil {
		return err
	}
	d.hosts = found.hosts
	if err := makeDir(d.path("pki")); err != nil {
		return err
	}
	if err := errors.Join(atomicfile.RemoveLeftovers(d.dir), atomicfile.RemoveLeftovers(d.path("pki"))); err != nil {
		return err
	}
	if err := d.fillPKI(found); err != nil {
		return err
	}
	if err := d.fillEncryption(found); err != nil {
		return err
	}
	return d.fillAdmin(found)
}

// content is the content of a directory at the start.
type content struct {
	hosts       []string
	ca, serving pair
	encryption  bool
	admin       *digest
	kubeconfig  *clientcmdv1.Config
}

func (d *Data) read() (c content, err error) {
	if err = d.readPKI(&c); err != nil {
		return content{}, err
	}
	if !d.cfg.ForeignKeys {
		if err = d.readKeys(&c); err != nil {
			return content{}, err
		}
	}
	return c, d.readAdmin(&c)
}

// readKeys returns an error for a directory whose secrets have lost their key: a new key would hide that.
func (d *Data) readKeys(c *content) (err error) {
	if c.encryption, err = readEncryption(d.EncryptionConfig()); err != nil || c.encryption {
		return err
	}
	if _, err := os.Stat(filepath.Join(d.EtcdDir(), "member")); err == nil {
		return fmt.Errorf(
			"%s is missing and %s holds data: restore it, or name its keys by --encryption-provider-config, "+
				"or delete %[2]s to start empty",
			d.EncryptionConfig(),
			d.EtcdDir(),
		)
	}
	return nil
}

func (d *Data) readHosts(c *content) (err error) {
	hostname, _ := os.Hostname() // omitted if unknown
	c.hosts, err = servingHosts(hostname, d.cfg.BindAddress, d.cfg.ExtraSANs, d.cfg.local())
	return err
}

func (d *Data) readPKI(c *content) (err error) {
	if err = d.readHosts(c); err != nil {
		return err
	}
	if err = checkDir(d.path("pki")); err != nil {
		return err
	}
	hint := "restore it, or delete " + d.path("pki") + " to get a new authority"
	if c.ca, err = readPair(d.CACert(), d.path("pki", "ca.key"), hint); err != nil {
		return err
	}
	if err = checkCA(d.CACert(), c.ca, d.cfg.now(), hint); err != nil {
		return err
	}
	certPath, keyPath := d.ServingCert()
	hint = "delete " + certPath + " and " + keyPath + " to get new ones"
	if c.serving, err = readPair(certPath, keyPath, hint); err != nil {
		return err
	}
	if err = c.serving.signedBy(c.ca); err != nil {
		return fmt.Errorf("%s is %w: %s", certPath, err, hint)
	}
	return nil
}

func (d *Data) readAdmin(c *content) (err error) {
	if c.admin, err = readDigest(d.digestPath(), d.Kubeconfig()); err != nil {
		return err
	}
	if c.kubeconfig, err = readKubeconfig(d.Kubeconfig()); err != nil || c.kubeconfig == nil {
		return err
	}
	if c.admin == nil {
		return fmt.Errorf("%s is missing: delete %s to get a new admin token", d.digestPath(), d.Kubeconfig())
	}
	if !c.admin.equal(digestOf(tokenIn(c.kubeconfig))) {
		return fmt.Errorf("the token in %s is not the one of %s: delete %[1]s to get a new admin token", d.Kubeconfig(),
			d.digestPath())
	}
	return nil
}

// fillPKI writes each key before its certificate: see pair. A CA that is not valid yet was issued while the clock was
// ahead, or the clock is behind now: it is re-issued for the same key and expiry, which is correct in both cases.
func (d *Data) fillPKI(c content) error {
	now := d.cfg.now()
	valid := c.ca.cert != nil && !now.Before(c.ca.cert.NotBefore)
	if c.ca.cert != nil && !valid {
		klog.Background().
			Info("Re-issuing the CA certificate for the same key: it was not valid yet", "path", d.CACert(),
				"from", c.ca.cert.NotBefore, "now", now)
	}
	ca, err := d.fillPair(c.ca, d.CACert(), d.path("pki", "ca.key"), valid, func(p pair) (pair, error) {
		return p.sign(caTemplate(c.ca.cert, now), nil)
	})
	if err != nil {
		return err
	}
	certPath, keyPath := d.ServingCert()
	good := c.serving.serves(c.hosts, now, ca.cert)
	if c.serving.cert != nil && !good {
		klog.Background().Info("Re-issuing the serving certificate", "path", certPath, "until", c.serving.cert.NotAfter)
	}
	_, err = d.fillPair(c.serving, certPath, keyPath, good, func(p pair) (pair, error) {
		return p.sign(servingTemplate(c.hosts, ca.cert, now), &ca)
	})
	return err
}

func (d *Data) fillPair(p pair, certPath, keyPath string, good bool, issue func(pair) (pair, error)) (pair, error) {
	if good {
		return p, nil
	}
	p, fresh, err := p.withKey()
	if err == nil && fresh {
		err = atomicfile.Replace(keyPath, p.keyPEM)
	}
	if err != nil {
		return pair{}, err
	}
	if p, err = issue(p); err != nil {
		return pair{}, err
	}
	return p, atomicfile.Replace(certPath, p.certPEM)
}

func (d *Data) fillEncryption(c content) error {
	if c.encryption || d.cfg.ForeignKeys {
		return nil
	}
	data, err := newEncryption(d.cfg.now())
	if err != nil {
		return fmt.Errorf("creating %s: %w", d.EncryptionConfig(), err)
	}
	return atomicfile.Replace(d.EncryptionConfig(), data)
}

// fillAdmin writes the digest before the token: after a crash in between there is no kubeconfig, and the next start
// creates a new pair.
func (d *Data) fillAdmin(c content) error {
	ca, err := os.ReadFile(d.CACert())
	if err != nil {
		return err
	}
	if c.kubeconfig != nil {
		d.admin = *c.admin
		return d.pointKubeconfig(c.kubeconfig, ca)
	}
	if c.admin != nil {
		klog.Background().Info("Creating a new admin token, the old one is invalid", "missing", d.Kubeconfig())
	}
	_, err = os.Stat(filepath.Join(d.EtcdDir(), "member"))
	d.first = c.admin == nil && os.IsNotExist(err) // a restored folder has values
	token := newToken()
	d.admin = digestOf(token)
	if err := atomicfile.Replace(d.digestPath(), d.admin.file()); err != nil {
		return err
	}
	return writeKubeconfig(d.Kubeconfig(), newKubeconfig(d.server, ca, token))
}
