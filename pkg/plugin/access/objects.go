// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/tools/pager"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
)

// objectReader collects RBAC objects of a cluster, with the rights of the caller.
type objectReader struct {
	client typedrbacv1.RbacV1Interface
	found  rbac.Objects
}

// objectList is one kind of objects, page by page.
type objectList struct {
	resource string
	page     func(context.Context, metav1.ListOptions) (runtime.Object, error)
	keep     func(runtime.Object)
}

// readCluster reads what RBAC says about a namespace. One list that cannot be read is an error: without it the answer could be wrong.
func (r *objectReader) readCluster(ctx context.Context, namespace string) error {
	client, objects := r.client, &r.found
	err := listAll(ctx, []objectList{
		{"clusterroles", func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.ClusterRoles().List(ctx, o)
		},
			func(o runtime.Object) { objects.ClusterRoles = append(objects.ClusterRoles, o.(*rbacv1.ClusterRole)) }},
		{"clusterrolebindings", func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.ClusterRoleBindings().List(ctx, o)
		},
			func(o runtime.Object) {
				objects.ClusterRoleBindings = append(objects.ClusterRoleBindings, o.(*rbacv1.ClusterRoleBinding))
			}},
	})
	if err != nil {
		return err
	}
	return r.readNamespace(ctx, namespace)
}

// readNamespace reads the roles and bindings of a namespace.
func (r *objectReader) readNamespace(ctx context.Context, namespace string) error {
	client, objects := r.client, &r.found
	return listAll(ctx, []objectList{
		{"roles", func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.Roles(namespace).List(ctx, o)
		},
			func(o runtime.Object) { objects.Roles = append(objects.Roles, o.(*rbacv1.Role)) }},
		{"rolebindings", func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.RoleBindings(namespace).List(ctx, o)
		},
			func(o runtime.Object) { objects.RoleBindings = append(objects.RoleBindings, o.(*rbacv1.RoleBinding)) }},
	})
}

func listAll(ctx context.Context, lists []objectList) error {
	for _, list := range lists {
		pages := pager.New(list.page)
		pages.PageSize = cluster.PageSize
		err := pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
			list.keep(o)
			return nil
		})
		if err != nil {
			return fmt.Errorf("listing %s: %w%s", list.resource, err, listHint(err))
		}
	}
	return nil
}

func listHint(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "; the answer takes the right to list roles, rolebindings, clusterroles and clusterrolebindings: ask somebody who has it, " +
			`or ask about one caller with "kubectl securevalue can-decrypt NAME --as USER"`
	case apierrors.IsNotFound(err):
		return "; this server has no RBAC objects: give the folder of manifests that a standalone server has in --rbac-dir with --rbac-dir"
	}
	return ""
}
