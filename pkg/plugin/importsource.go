// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// generatedTypes are Secrets that programs create and maintain for themselves.
var generatedTypes = map[corev1.SecretType]bool{
	corev1.SecretTypeServiceAccountToken: true,
	corev1.SecretTypeBootstrapToken:      true,
	"helm.sh/release.v1":                 true,
}

// entry is one value to import.
type entry struct {
	// kind is secret, file or variable; origin is SECRET/KEY, or the name of the file or variable.
	kind, origin string
	value        sensitive.Value
	// name is that of the secure value.
	name string
	// err is why it cannot be imported; leftOut is why it should not be.
	err     error
	leftOut string
}

// check returns why an entry cannot be imported as sv.
func (e *entry) check(sv *v1beta1.SecureValue) error {
	if e.err != nil {
		return e.err
	}
	if err := checkValue(e.value); err != nil {
		return err
	}
	checked := sv.DeepCopy()
	checked.Namespace = metav1.NamespaceDefault // the server sets it
	return checkObject(checked)
}

// parseMaps reads --map: ORIGIN=NAME, or ORIGIN= to leave one out.
func parseMaps(mappings []string) (names map[string]string, err error) {
	names = map[string]string{}
	for _, mapping := range mappings {
		origin, name, ok := strings.Cut(mapping, "=")
		if _, repeated := names[origin]; !ok || origin == "" || repeated {
			return nil, errors.New("--map expects ORIGIN=NAME, or ORIGIN= to leave one out, each origin once; " +
				"an origin is SECRET/KEY, a file name or a variable")
		}
		names[origin] = name
	}
	return names, nil
}

// applyNames names the entries, by --map or by their origins.
func applyNames(names map[string]string, entries []entry) error {
	for origin := range names {
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.origin == origin }) {
			return fmt.Errorf("--map: origin %q not found", origin)
		}
	}
	first := map[string]*entry{}
	for i := range entries {
		e := &entries[i]
		name, mapped := names[e.origin]
		switch {
		case e.leftOut != "":
			continue
		case mapped && name == "":
			e.leftOut = "by --map"
			continue
		case !mapped:
			name = strings.NewReplacer("_", "-", "/", "-").Replace(strings.ToLower(e.origin))
		}
		e.name = name
		other := first[name]
		if other == nil {
			first[name] = e
			continue
		}
		e.err = fmt.Errorf("would have the same name as %s; rename one of them with --map", other.origin)
		other.err = fmt.Errorf("would have the same name as %s; rename one of them with --map", e.origin)
	}
	return nil
}

// entries reads the source.
func (i *importer) entries(ctx context.Context) ([]entry, error) {
	switch {
	case i.dir != "":
		return i.fromDir()
	case i.envFile != "":
		return fromEnvFile(i.envFile)
	}
	return i.fromSecrets(ctx)
}

// fromSecrets makes an entry of each key of the selected Secrets.
func (i *importer) fromSecrets(ctx context.Context) (entries []entry, err error) {
	source := i.or(i.source)
	namespace, err := source.currentNamespace()
	if err != nil {
		return nil, err
	}
	client, err := newClient(source, typedcorev1.NewForConfig)
	if err != nil {
		return nil, err
	}
	options := metav1.ListOptions{LabelSelector: i.selector}
	_, err = each(ctx, client.Secrets(namespace).List, options, func(s *corev1.Secret, _ int64) {
		if generatedTypes[s.Type] {
			reason := fmt.Sprintf("Secrets of type %s are created by a program", s.Type)
			entries = append(entries, entry{origin: s.Name, leftOut: reason})
			return
		}
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			e := entry{kind: "secret", origin: s.Name + "/" + key, value: sensitive.Value(s.Data[key])}
			entries = append(entries, e)
		}
	})
	switch {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("listing Secrets: %w; importing Secrets requires permission to list them", err)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("listing Secrets: %w; a standalone server has no Secrets: "+
			"select the cluster that has them with --source-kubeconfig or --source-context", err)
	case err != nil:
		return nil, fmt.Errorf("listing Secrets: %w", err)
	}
	return entries, nil
}

// fromDir makes an entry of each file of the directory and follows links. It ignores hidden files and directories, such
// as the ..data of a mounted Secret.
func (i *importer) fromDir() ([]entry, error) {
	files, err := os.ReadDir(i.dir)
	if err != nil {
		return nil, fmt.Errorf("--from-dir: %w", err)
	}
	var entries []entry
	for _, file := range files {
		if strings.HasPrefix(file.Name(), ".") {
			continue
		}
		e := entry{kind: "file", origin: file.Name()}
		path := filepath.Join(i.dir, file.Name())
		switch info, err := os.Stat(path); {
		case err != nil:
			return nil, fmt.Errorf("--from-dir: %w", err)
		case !info.Mode().IsRegular():
			e.leftOut = "not a file"
		default:
			e.value, e.err = readFile("--from-dir", path)
			if e.err != nil && !errors.Is(e.err, errTooLong) {
				return nil, e.err
			}
			if i.trimNewline {
				e.value = trimNewline(e.value)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}
