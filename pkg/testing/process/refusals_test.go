// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	// leakyKey is the base64 of a key that no message may quote, shortKey that of one that is too short.
	leakyKey = "bGVha3lsZWFreWxlYWt5bGVha3lsZWFreWxlYWt5MDA="
	shortKey = "bGVha3kgbGVha3k="
	// leakyToken may be in no message either.
	leakyToken = "leaky-token-9f2c"
)

// encryption is an EncryptionConfiguration for our resource.
func encryption(providers ...string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [securevalues.secret.grafana.app]\n  providers:\n  - " +
		strings.Join(providers, "\n  - ") + "\n"
}

func aesgcm(key string) string {
	return fmt.Sprintf("aesgcm: {keys: [{name: a, secret: %s}]}", key)
}

// refusal is a start that must fail.
type refusal struct {
	// data are files of the data folder to overwrite; "" removes one. files are put into a separate folder.
	data, files map[string]string
	// spoil does to the data folder what files cannot say.
	spoil func(t *testing.T, dir string)
	// args are flags. FILES stands for the folder of files, DATA for the data folder.
	args []string
	// want are parts of the message.
	want []string
}

var dataRefusals = map[string]refusal{
	"folder open to others": {spoil: chmod(".", 0o755), want: []string{"DATA is accessible to other users (mode 0755): run chmod 700 DATA"}},
	"folder is a file": {spoil: func(t *testing.T, dir string) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, dir, "precious")
	}, want: []string{"DATA is not a directory", "--data-dir"}},
	"folder below a file":          {args: []string{"--data-dir=DATA/lock/below"}, want: []string{"DATA/lock/below"}},
	"pki open to others":           {spoil: chmod("pki", 0o750), want: []string{"run chmod 700 DATA/pki"}},
	"kubeconfig open to others":    {spoil: chmod("admin.kubeconfig", 0o644), want: []string{"run chmod 600 DATA/admin.kubeconfig"}},
	"key open to its group":        {spoil: chmod("pki/ca.key", 0o640), want: []string{"run chmod 600 DATA/pki/ca.key"}},
	"encryption open to others":    {spoil: chmod("encryption.yaml", 0o604), want: []string{"run chmod 600 DATA/encryption.yaml"}},
	"encryption is not YAML":       {data: map[string]string{"encryption.yaml": "keys: [" + leakyKey}, want: []string{"DATA/encryption.yaml", "backup"}},
	"encryption is empty":          {spoil: truncate("encryption.yaml"), want: []string{"DATA/encryption.yaml is empty"}},
	"encryption is missing":        {data: map[string]string{"encryption.yaml": ""}, want: []string{"DATA/encryption.yaml is missing", "--encryption-provider-config"}},
	"identity writes":              {data: map[string]string{"encryption.yaml": encryption("identity: {}", aesgcm(leakyKey))}, want: []string{"DATA/encryption.yaml", "identity"}},
	"identity reads":               {data: map[string]string{"encryption.yaml": encryption(aesgcm(leakyKey), "identity: {}")}, want: []string{"DATA/encryption.yaml", "identity"}},
	"encryption without ours":      {data: map[string]string{"encryption.yaml": strings.Replace(encryption(aesgcm(leakyKey)), "securevalues.secret.grafana.app", "secrets", 1)}, want: []string{"DATA/encryption.yaml", "no providers for securevalues"}},
	"short key":                    {data: map[string]string{"encryption.yaml": encryption(aesgcm(shortKey))}, want: []string{"DATA/encryption.yaml", "expected length"}},
	"CA without a certificate":     {data: map[string]string{"pki/ca.crt": "x"}, want: []string{"DATA/pki/ca.crt is not a certificate"}},
	"CA key without a key":         {data: map[string]string{"pki/ca.key": "x"}, want: []string{"DATA/pki/ca.key is not a private key"}},
	"CA key is missing":            {data: map[string]string{"pki/ca.key": ""}, want: []string{"DATA/pki/ca.crt has no key DATA/pki/ca.key"}},
	"serving key without a key":    {data: map[string]string{"pki/serving.key": "x"}, want: []string{"DATA/pki/serving.key is not a private key"}},
	"serving certificate is none":  {data: map[string]string{"pki/serving.crt": "x"}, want: []string{"DATA/pki/serving.crt is not a certificate"}},
	"kubeconfig is none":           {data: map[string]string{"admin.kubeconfig": "token: [" + leakyToken}, want: []string{"DATA/admin.kubeconfig is not a valid kubeconfig"}},
	"kubeconfig is empty":          {spoil: truncate("admin.kubeconfig"), want: []string{"DATA/admin.kubeconfig is empty"}},
	"hash is missing":              {data: map[string]string{"admin-token.sha256": ""}, want: []string{"DATA/admin-token.sha256 is missing", "delete DATA/admin.kubeconfig"}},
	"hash is of another token":     {data: map[string]string{"admin-token.sha256": strings.Repeat("0", 64)}, want: []string{"DATA/admin-token.sha256"}},
	"hash is none":                 {data: map[string]string{"admin-token.sha256": "x"}, want: []string{"DATA/admin-token.sha256 is not a SHA-256"}},
	"encryption named, not there":  {args: []string{"--encryption-provider-config=FILES/none.yaml"}, want: []string{"--encryption-provider-config", "FILES/none.yaml"}},
	"encryption named, identity":   {files: map[string]string{"e.yaml": encryption("identity: {}")}, args: []string{"--encryption-provider-config=FILES/e.yaml"}, want: []string{"--encryption-provider-config FILES/e.yaml", "identity"}},
	"encryption named, short key":  {files: map[string]string{"e.yaml": encryption(aesgcm(shortKey))}, args: []string{"--encryption-provider-config=FILES/e.yaml"}, want: []string{"FILES/e.yaml", "expected length"}},
	"encryption named, not base64": {files: map[string]string{"e.yaml": encryption(aesgcm("'" + leakyToken + "!'"))}, args: []string{"--encryption-provider-config=FILES/e.yaml"}, want: []string{"FILES/e.yaml", "base64"}},
	"encryption named, empty":      {files: map[string]string{"e.yaml": " "}, args: []string{"--encryption-provider-config=FILES/e.yaml"}, want: []string{"FILES/e.yaml", "not a valid EncryptionConfiguration"}},
}

func chmod(name string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func truncate(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	badRole   = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a, namespace: b}\nrulez: []\n---\nkind: Nonsense\n"
	tracing   = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n"
	badIssuer = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'http://plain', audiences: []}\n"
)

var flagRefusals = map[string]refusal{
	"unknown flag":   {args: []string{"--nonsense"}, want: []string{"unknown flag: --nonsense"}},
	"argument":       {args: []string{"nonsense"}, want: []string{`"nonsense"`}},
	"not standalone": {args: []string{"--standalone=false"}, want: []string{"--data-dir needs --standalone", "--etcd-servers is required in a cluster; to run without one, use --standalone"}},
	"flags of a cluster": {
		args: []string{"--kubeconfig=FILES/k", "--authentication-kubeconfig=FILES/k", "--authorization-kubeconfig=FILES/k", "--authorization-webhook-cache-authorized-ttl=10s"},
		want: []string{"--kubeconfig is for a server in a cluster: leave it out, or --standalone", "--authentication-kubeconfig is", "--authorization-kubeconfig is", "--authorization-webhook-cache-authorized-ttl is"},
	},
	"no data folder":              {args: []string{"--data-dir="}, want: []string{"--data-dir must not be empty"}},
	"bad decrypters":              {args: []string{"--allowed-decrypters=ok,a b,c/d"}, want: []string{"--allowed-decrypters", `"a b"`, `"c/d"`}},
	"no token file":               {args: []string{"--token-auth-file=FILES/none.csv"}, want: []string{"--token-auth-file", "FILES/none.csv"}},
	"token file: few columns":     {files: map[string]string{"t.csv": "ok,bob,1\n" + leakyToken + ",bob\n"}, args: []string{"--token-auth-file=FILES/t.csv"}, want: []string{"--token-auth-file", "FILES/t.csv", "line 2", "columns"}},
	"token file: stray quote":     {files: map[string]string{"t.csv": leakyToken + "\"x,bob,1\n"}, args: []string{"--token-auth-file=FILES/t.csv"}, want: []string{"FILES/t.csv", "line 1", "quote"}},
	"token file: twice":           {files: map[string]string{"t.csv": leakyToken + ",a,1\n" + leakyToken + ",b,2\n"}, args: []string{"--token-auth-file=FILES/t.csv"}, want: []string{"FILES/t.csv", "line 2"}},
	"no client CA":                {args: []string{"--client-ca-file=FILES/none.crt"}, want: []string{"--client-ca-file", "FILES/none.crt"}},
	"broken client CA":            {files: map[string]string{"ca.crt": "x"}, args: []string{"--client-ca-file=FILES/ca.crt"}, want: []string{"--client-ca-file", "FILES/ca.crt"}},
	"no authentication config":    {args: []string{"--authentication-config=FILES/none.yaml"}, want: []string{"--authentication-config", "FILES/none.yaml"}},
	"bad authentication config":   {files: map[string]string{"a.yaml": badIssuer}, args: []string{"--authentication-config=FILES/a.yaml"}, want: []string{"--authentication-config", "jwt[0].issuer.url", "jwt[0].issuer.audiences"}},
	"anonymous in it":             {files: map[string]string{"a.yaml": strings.Split(badIssuer, "jwt:")[0] + "anonymous: {enabled: true}\n"}, args: []string{"--authentication-config=FILES/a.yaml"}, want: []string{"anonymous"}},
	"unknown field in it":         {files: map[string]string{"a.yaml": badIssuer + "  nonsense: 1\n"}, args: []string{"--authentication-config=FILES/a.yaml"}, want: []string{"nonsense"}},
	"no RBAC folder":              {args: []string{"--rbac-dir=FILES/none"}, want: []string{"--rbac-dir", "FILES/none"}},
	"broken manifests":            {files: map[string]string{"r.yaml": badRole}, args: []string{"--rbac-dir=FILES"}, want: []string{"--rbac-dir", "FILES/r.yaml", `"rulez"`, `"Nonsense"`}},
	"manifest is not YAML":        {files: map[string]string{"r.yaml": "a: ["}, args: []string{"--rbac-dir=FILES"}, want: []string{"--rbac-dir", "FILES/r.yaml"}},
	"audit policy without log":    {args: []string{"--audit-policy-file=FILES/p.yaml"}, want: []string{"--audit-policy-file needs --audit-log-path"}},
	"no audit policy":             {args: []string{"--audit-log-path=FILES/a.log", "--audit-policy-file=FILES/p.yaml"}, want: []string{"--audit-policy-file", "FILES/p.yaml"}},
	"bad audit policy":            {files: map[string]string{"p.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n"}, args: []string{"--audit-log-path=FILES/a.log", "--audit-policy-file=FILES/p.yaml"}, want: []string{"--audit-policy-file", "rules[0].level"}},
	"audit log in no folder":      {args: []string{"--audit-log-path=FILES/none/a.log"}, want: []string{"--audit-log-path", "FILES/none/a.log"}},
	"certificate without key":     {args: []string{"--tls-cert-file=FILES/t.crt"}, want: []string{"--tls-cert-file and --tls-private-key-file go together"}},
	"no certificate":              {args: []string{"--tls-cert-file=FILES/t.crt", "--tls-private-key-file=FILES/t.key"}, want: []string{"--tls-cert-file", "FILES/t.crt"}},
	"TLS version":                 {args: []string{"--tls-min-version=nonsense"}, want: []string{"--tls-min-version", "nonsense"}},
	"TLS ciphers":                 {args: []string{"--tls-cipher-suites=nonsense"}, want: []string{"--tls-cipher-suites", "nonsense"}},
	"negative limits":             {args: []string{"--max-requests-inflight=-1", "--max-mutating-requests-inflight=-1", "--http2-max-streams-per-connection=-1", "--audit-log-maxage=-1"}, want: []string{"--max-requests-inflight", "--max-mutating-requests-inflight", "--http2-max-streams-per-connection", "--audit-log-maxage"}},
	"negative times":              {args: []string{"--request-timeout=-1s", "--min-request-timeout=-1", "--shutdown-delay-duration=-1s"}, want: []string{"--request-timeout", "--min-request-timeout", "--shutdown-delay-duration"}},
	"port out of range":           {args: []string{"--secure-port=99999"}, want: []string{"--secure-port must be between 0 and 65535"}},
	"port is not a number":        {args: []string{"--secure-port=nonsense"}, want: []string{"--secure-port", "nonsense"}},
	"address is none":             {args: []string{"--bind-address=nonsense"}, want: []string{"--bind-address", "nonsense"}},
	"address of somebody else":    {args: []string{"--bind-address=203.0.113.9"}, want: []string{"203.0.113.9", "--bind-address"}},
	"no tracing file":             {args: []string{"--tracing-config-file=FILES/none.yaml"}, want: []string{"--tracing-config-file", "FILES/none.yaml", "no such file"}},
	"empty tracing file":          {files: map[string]string{"t.yaml": "\n"}, args: []string{"--tracing-config-file=FILES/t.yaml"}, want: []string{"--tracing-config-file", "FILES/t.yaml", "not a valid TracingConfiguration"}},
	"keys as tracing file":        {files: map[string]string{"t.yaml": encryption(aesgcm(leakyKey))}, args: []string{"--tracing-config-file=FILES/t.yaml"}, want: []string{"FILES/t.yaml is not a valid TracingConfiguration"}},
	"tokens as tracing file":      {files: map[string]string{"t.yaml": "*" + leakyToken + ",bob,1"}, args: []string{"--tracing-config-file=FILES/t.yaml"}, want: []string{"FILES/t.yaml is not a valid TracingConfiguration"}},
	"unknown field in tracing":    {files: map[string]string{"t.yaml": tracing + "endpont: a:1\n"}, args: []string{"--tracing-config-file=FILES/t.yaml"}, want: []string{"FILES/t.yaml is not a valid TracingConfiguration", "endpoint"}},
	"bad tracing":                 {files: map[string]string{"t.yaml": tracing + "endpoint: https://a:1\nsamplingRatePerMillion: 1000001\n"}, args: []string{"--tracing-config-file=FILES/t.yaml"}, want: []string{"--tracing-config-file FILES/t.yaml", "endpoint", "samplingRatePerMillion"}},
	"log format":                  {args: []string{"--logging-format=nonsense"}, want: []string{"log", "format", "nonsense"}},
	"verbosity":                   {args: []string{"-v=nonsense"}, want: []string{"-v", "nonsense"}},
	"etcd address":                {args: []string{"--etcd-servers=localhost:2379"}, want: []string{"--etcd-servers", "scheme://host:port"}},
	"etcd certificate alone":      {args: []string{"--etcd-certfile=FILES/e.crt"}, want: []string{"--etcd-certfile and --etcd-keyfile go together"}},
	"etcd prefix":                 {args: []string{"--etcd-prefix="}, want: []string{"--etcd-prefix must not be empty"}},
	"automatic reload of nothing": {args: []string{"--encryption-provider-config-automatic-reload"}, want: []string{"needs --encryption-provider-config"}},
}

// Every refusal is one line that says what to do; it changes nothing and quotes no secret.
func TestRefusals(t *testing.T) {
	base := harness.Start(t, harness.Options{})
	base.Create(t, "refusals", "one", harness.Canary())
	base.Stop(t)
	secrets := []string{
		base.AdminToken, leakyKey, shortKey, leakyToken,
		string(regexp.MustCompile(`secret: (\S+)`).FindSubmatch(harness.ReadFile(t, filepath.Join(base.DataDir, "encryption.yaml")))[1]),
	}
	all := maps.Clone(dataRefusals)
	maps.Copy(all, flagRefusals)
	taken := harness.Listen(t).Addr().String()
	all["port taken"] = refusal{args: []string{"--secure-port=" + taken[strings.LastIndex(taken, ":")+1:]}, want: []string{taken, "address already in use", "choose another --secure-port"}}
	for name, test := range all {
		t.Run(name, func(t *testing.T) { test.run(t, base.DataDir, secrets) })
	}
}

func (r refusal) run(t *testing.T, base string, secrets []string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	files := t.TempDir()
	copyTree(t, base, dir)
	for name, text := range r.data {
		if file := filepath.Join(dir, name); text != "" {
			harness.WriteFile(t, file, text)
		} else if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range r.files {
		harness.WriteFile(t, filepath.Join(files, name), text)
	}
	if r.spoil != nil {
		r.spoil(t, dir)
	}
	before := tree(t, dir)
	fill := strings.NewReplacer("DATA", dir, "FILES", files)
	args := []string{"--standalone", "--data-dir=" + dir, "--secure-port=0"}
	for _, arg := range r.args {
		args = append(args, fill.Replace(arg))
	}
	out, code := harness.Fail(t, args...)

	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if all := lines(out); len(all) != 1 || !strings.HasPrefix(out, "error: ") {
		t.Errorf("want one line that starts with error:, got\n%s", out)
	}
	for _, want := range r.want {
		if want = fill.Replace(want); !strings.Contains(out, want) {
			t.Errorf("want %q in %s", want, out)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(out, secret) {
			t.Errorf("a secret is in %s", out)
		}
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("the refusal changed files:\n%s", diff)
	}
}

// An etcd that does not answer is waited for, in case it starts too, but not for ever.
func TestSilentEtcd(t *testing.T) {
	t.Parallel()
	out, code := harness.Fail(t, "--standalone", "--data-dir="+filepath.Join(t.TempDir(), "data"), "--secure-port=0", "--etcd-servers=http://127.0.0.1:1")
	all := lines(out)
	if last := all[len(all)-1]; code != 1 || !strings.HasPrefix(last, "error: no answer from --etcd-servers http://127.0.0.1:1: ") {
		t.Errorf("exit code %d, last line %q", code, last)
	} else if strings.Count(last, "http://127.0.0.1:1") != 1 {
		t.Errorf("the server is named more than once: %q", last)
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("a stack is in\n%s", out)
	}
}

// A damaged database is reported and left unchanged for repair.
func TestDamagedDatabase(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.Stop(t)
	file := filepath.Join(s.DataDir, "etcd", "member", "snap", "db")
	damaged := harness.ReadFile(t, file)
	copy(damaged, strings.Repeat("damaged!", 4096))
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, filepath.Join(s.DataDir, "etcd", "member"))
	out, code := harness.Fail(t, "--standalone", "--data-dir="+s.DataDir, "--secure-port=0")
	all := lines(out)
	if last := all[len(all)-1]; code != 1 || !strings.HasPrefix(last, "error: starting etcd on "+s.DataDir) {
		t.Errorf("exit code %d, last line %q", code, last)
	}
	if diff := cmp.Diff(before, tree(t, filepath.Join(s.DataDir, "etcd", "member"))); diff != "" {
		t.Errorf("the refusal changed the database:\n%s", diff)
	}
}

// TestLooseFilesAreRefused starts with files of the operator to which others have more access than what is in them
// allows.
func TestLooseFilesAreRefused(t *testing.T) {
	const changed, readable = "can be changed by other users", "can be read by every user"
	for name, test := range map[string]struct {
		file, content, flag string
		mode, folder        os.FileMode
		want                string
	}{
		"tokens that all read":        {"tokens.csv", leakyToken + ",u,1\n", "token-auth-file", 0o644, 0o700, readable},
		"tokens that a group writes":  {"tokens.csv", leakyToken + ",u,1\n", "token-auth-file", 0o660, 0o700, changed},
		"tokens that all may replace": {"tokens.csv", leakyToken + ",u,1\n", "token-auth-file", 0o600, 0o777, "can be replaced by every user"},
		"keys that all read":          {"keys.yaml", encryption(aesgcm(leakyKey)), "encryption-provider-config", 0o644, 0o700, readable},
		"issuers that a group writes": {"authn.yaml", "apiVersion: x\n", "authentication-config", 0o664, 0o700, changed},
		"roles that all write":        {"role.yaml", "", "rbac-dir", 0o666, 0o700, changed},
		"a folder that a group fills": {"role.yaml", "", "rbac-dir", 0o600, 0o770, changed},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "files")
			path := filepath.Join(dir, test.file)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			harness.WriteFile(t, path, test.content)
			for changed, mode := range map[string]os.FileMode{path: test.mode, dir: test.folder} {
				if err := os.Chmod(changed, mode); err != nil {
					t.Fatal(err)
				}
			}
			named := path
			if test.flag == "rbac-dir" {
				named = dir
			}
			data := filepath.Join(t.TempDir(), "data")
			out, code := harness.Fail(t, "--standalone", "--data-dir="+data, "--secure-port=0", "--decrypt-port=auto", "--"+test.flag+"="+named)
			if code != 1 || !strings.Contains(out, test.want) || !strings.Contains(out, dir) || strings.Contains(out, leakyToken) {
				t.Errorf("exit code %d: %s", code, out)
			}
			if _, err := os.Stat(data); err == nil {
				t.Error("the data folder was made")
			}
		})
	}
}
