// SPDX-License-Identifier: Apache-2.0

package importing

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
	"github.com/securevalue/secret-apiserver/pkg/plugin/input"
	"github.com/securevalue/secret-apiserver/pkg/plugin/write"
)

// AnnotationOrigin tells, of an imported value, where it came from: secret/NAME/KEY, file/NAME or variable/NAME.
const AnnotationOrigin = "secret.grafana.app/imported-from"

// importer creates secure values.
type importer struct {
	client      typedv1beta1.SecureValueInterface
	kind        string
	description string
	decrypters  []string
	labels      map[string]string
	dryRun      string
}

// run imports the entries in their order. It stops at the first request that fails; what was done until then is in the report.
func (i *importer) run(ctx context.Context, entries []entry, bar *cli.Bar) (report, error) {
	defer bar.End()
	r := report{Results: []result{}, DryRun: i.dryRun == write.DryRunServer}
	for n := range entries {
		bar.Set(int64(n), int64(len(entries)))
		done, err := i.one(ctx, &entries[n])
		if err != nil {
			return r, fmt.Errorf("%w; %d of %d were looked at, run the command again to go on", hint.API("importing "+entries[n].origin, err), n, len(entries))
		}
		r.Results = append(r.Results, done)
	}
	bar.Set(int64(len(entries)), int64(len(entries)))
	return r, nil
}

func (i *importer) one(ctx context.Context, e *entry) (result, error) {
	done := result{Origin: e.origin, Name: e.name}
	if e.leftOut != "" {
		done.Result, done.Reason = resultLeftOut, e.leftOut
		return done, nil
	}
	sv := &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: e.name, Labels: i.labels, Annotations: map[string]string{AnnotationOrigin: i.kind + "/" + e.origin}},
		Spec:       v1beta1.SecureValueSpec{Description: i.description, Decrypters: i.decrypters, Value: &e.value},
	}
	if fault := faultOf(e, sv); fault != nil {
		done.Result, done.Reason = resultSkipped, strings.ReplaceAll(fault.Error(), "\n", "; ")
		return done, nil
	}
	_, err := i.client.Create(ctx, sv, metav1.CreateOptions{
		DryRun: write.DryRunOption(i.dryRun), FieldManager: cluster.FieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
	if apierrors.IsAlreadyExists(err) {
		done.Result, done.Reason = resultExists, i.whose(ctx, sv)
		return done, nil
	}
	done.Result = resultImported
	if i.dryRun == write.DryRunServer {
		done.Result = resultImportable
	}
	return done, err
}

// faultOf is why an entry cannot be imported.
func faultOf(e *entry, sv *v1beta1.SecureValue) error {
	if e.fault != nil {
		return e.fault
	}
	if err := input.Check(e.value); err != nil {
		return err
	}
	checked := sv.DeepCopy()
	checked.Namespace = metav1.NamespaceDefault // the server knows which
	return write.Faults(checked)
}

// whose tells a value that an earlier run imported from one that has nothing to do with it.
func (i *importer) whose(ctx context.Context, sv *v1beta1.SecureValue) string {
	stored, err := i.client.Get(ctx, sv.Name, metav1.GetOptions{})
	switch {
	case err != nil:
		return "left as it is"
	case stored.Annotations[AnnotationOrigin] == sv.Annotations[AnnotationOrigin]:
		return "imported before"
	default:
		return "is not from here, left as it is"
	}
}
