// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// NewAPIGroups returns the two API groups for GenericAPIServer.InstallAPIGroups. The scheme must know the types of
// AddToScheme and the meta types of version v1. access is the authorizer of the API, and without the group
// system:masters that of the decrypt port.
func NewAPIGroups(
	scheme *runtime.Scheme, codecs serializer.CodecFactory,
	access authorizer.UnconditionalAuthorizer, rules authorizer.RuleResolver,
) []genericapiserver.APIGroupInfo {
	parameters := runtime.NewParameterCodec(scheme)
	group := func(name, version string, resources map[string]rest.Storage) genericapiserver.APIGroupInfo {
		info := genericapiserver.NewDefaultAPIGroupInfo(name, scheme, parameters, codecs)
		info.VersionedResourcesStorageMap[version] = resources
		return info
	}
	return []genericapiserver.APIGroupInfo{
		group(authorizationv1.GroupName, authorizationv1.SchemeGroupVersion.Version, map[string]rest.Storage{
			"selfsubjectaccessreviews": &accessReviews{authorizer: access},
			"selfsubjectrulesreviews":  &rulesReviews{resolver: rules, port: decryptPort{access}},
		}),
		group(authenticationv1.GroupName, authenticationv1.SchemeGroupVersion.Version, map[string]rest.Storage{
			"selfsubjectreviews": &selfReviews{},
		}),
	}
}

// virtual is common to the three resources: they are cluster-scoped and not stored.
type virtual struct{}

// NamespaceScoped returns false: the namespace is in the body.
func (virtual) NamespaceScoped() bool { return false }

// Destroy has nothing to release.
func (virtual) Destroy() {}

type storage interface {
	rest.Storage
	rest.Creater
	rest.Scoper
	rest.SingularNameProvider
}

var (
	_ storage = &accessReviews{}
	_ storage = &rulesReviews{}
	_ storage = &selfReviews{}
)

// AddToScheme registers authorization.k8s.io/v1 and authentication.k8s.io/v1, and the served types as the internal
// version, too, so that the generic API server's conversions to the hub version change nothing.
func AddToScheme(scheme *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{authorizationv1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("registering the types of self reviews: %w", err)
		}
	}
	scheme.AddKnownTypes(internal(authorizationv1.GroupName),
		&authorizationv1.SelfSubjectAccessReview{},
		&authorizationv1.SelfSubjectRulesReview{},
	)
	scheme.AddKnownTypes(internal(authenticationv1.GroupName), &authenticationv1.SelfSubjectReview{})
	for _, version := range []schema.GroupVersion{authorizationv1.SchemeGroupVersion,
		authenticationv1.SchemeGroupVersion} {
		if err := scheme.SetVersionPriority(version); err != nil {
			return fmt.Errorf("registering %s: %w", version, err)
		}
	}
	return nil
}

func internal(group string) schema.GroupVersion {
	return schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal}
}

// accept validates and admits the posted review and returns it with its caller.
func accept[T runtime.Object](
	ctx context.Context, obj runtime.Object, validate func(T) error, admit rest.ValidateObjectFunc,
) (T, user.Info, error) {
	var none T
	review, ok := obj.(T)
	if !ok {
		return none, nil, apierrors.NewBadRequest(fmt.Sprintf("not a %T", none))
	}
	if err := validate(review); err != nil {
		return none, nil, err
	}
	caller, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return none, nil, apierrors.NewBadRequest("no user present on request")
	}
	if admit != nil {
		if err := admit(ctx, obj.DeepCopyObject()); err != nil {
			return none, nil, err
		}
	}
	return review, caller, nil
}

// accessReviews answers whether the caller may do one thing.
type accessReviews struct {
	virtual
	authorizer authorizer.UnconditionalAuthorizer
}

// New returns an empty review to decode into.
func (*accessReviews) New() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }

// GetSingularName returns the name discovery shows.
func (*accessReviews) GetSingularName() string { return "selfsubjectaccessreview" }

// Create returns the review with the decision of the authorizer.
func (r *accessReviews) Create(
	ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions,
) (runtime.Object, error) {
	review, caller, err := accept(ctx, obj, validateAccessReview, admit)
	if err != nil {
		return nil, err
	}
	var attributes authorizer.AttributesRecord
	if in := review.Spec.ResourceAttributes; in != nil {
		attributes = resourceAttributes(caller, in)
	} else {
		in := review.Spec.NonResourceAttributes
		attributes = authorizer.AttributesRecord{User: caller, Path: in.Path, Verb: in.Verb}
	}
	decision, reason, evaluationErr := r.decide(ctx, attributes)
	review.Status = authorizationv1.SubjectAccessReviewStatus{
		Allowed:         decision == authorizer.DecisionAllow,
		Denied:          decision == authorizer.DecisionDeny,
		Reason:          reason,
		EvaluationError: evaluationError(evaluationErr, &attributes),
	}
	return review, nil
}

func (r *accessReviews) decide(ctx context.Context, question authorizer.AttributesRecord) (authorizer.Decision, string,
	error) {
	if port := (decryptPort{r.authorizer}); port.concerns(&question) {
		return port.Authorize(ctx, question)
	}
	return r.authorizer.Authorize(ctx, question)
}

// evaluationError returns the error of the authorizer and what of the request was ignored.
func evaluationError(err error, attributes *authorizer.AttributesRecord) string {
	var texts []string
	if err != nil {
		texts = append(texts, err.Error())
	}
	ignored := func(selector string, err error, used int) {
		switch {
		case err == nil:
		case used > 0:
			texts = append(texts, "spec.resourceAttributes."+selector+" partially ignored due to parse error")
		default:
			texts = append(texts, "spec.resourceAttributes."+selector+" ignored due to parse error")
		}
	}
	ignored("fieldSelector", attributes.FieldSelectorParsingErr, len(attributes.FieldSelectorRequirements))
	ignored("labelSelector", attributes.LabelSelectorParsingErr, len(attributes.LabelSelectorRequirements))
	return strings.Join(texts, "; ")
}

// rulesReviews lists what the caller may do in a namespace.
type rulesReviews struct {
	virtual
	resolver authorizer.RuleResolver
	port     decryptPort
}

// New returns an empty review to decode into.
func (*rulesReviews) New() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }

// GetSingularName returns the name discovery shows.
func (*rulesReviews) GetSingularName() string { return "selfsubjectrulesreview" }

// Create returns a review with the rules of the caller.
func (r *rulesReviews) Create(
	ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions,
) (runtime.Object, error) {
	review, caller, err := accept(ctx, obj, validateRulesReview, admit)
	if err != nil {
		return nil, err
	}
	resources, urls, incomplete, evaluationErr := r.resolver.RulesFor(ctx, caller, review.Spec.Namespace)
	out := &authorizationv1.SelfSubjectRulesReview{
		Status: authorizationv1.SubjectRulesReviewStatus{
			// Both lists are required, so they must not be null.
			ResourceRules:    make([]authorizationv1.ResourceRule, 0, len(resources)),
			NonResourceRules: make([]authorizationv1.NonResourceRule, 0, len(urls)),
			Incomplete:       incomplete,
		},
	}
	for _, rule := range resources {
		out.Status.ResourceRules = append(out.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs:         rule.GetVerbs(),
			APIGroups:     rule.GetAPIGroups(),
			Resources:     rule.GetResources(),
			ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range urls {
		out.Status.NonResourceRules = append(out.Status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs:           rule.GetVerbs(),
			NonResourceURLs: rule.GetNonResourceURLs(),
		})
	}
	overstated, err := r.port.overstated(ctx, caller, review.Spec.Namespace)
	if overstated {
		out.Status.Incomplete = true
		evaluationErr = errors.Join(evaluationErr, errPartly)
	}
	if evaluationErr = errors.Join(evaluationErr, err); evaluationErr != nil {
		out.Status.EvaluationError = evaluationErr.Error()
	}
	return out, nil
}

// selfReviews returns the caller as the server knows it.
type selfReviews struct{ virtual }

// New returns an empty review to decode into.
func (*selfReviews) New() runtime.Object { return &authenticationv1.SelfSubjectReview{} }

// GetSingularName returns the name discovery shows.
func (*selfReviews) GetSingularName() string { return "selfsubjectreview" }

// Create returns a review with the caller's name, groups and extra attributes.
func (*selfReviews) Create(
	ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions,
) (runtime.Object, error) {
	_, caller, err := accept(ctx, obj, func(*authenticationv1.SelfSubjectReview) error { return nil }, admit)
	if err != nil {
		return nil, err
	}
	info := authenticationv1.UserInfo{
		Username: caller.GetName(),
		UID:      caller.GetUID(),
		Groups:   caller.GetGroups(),
		Extra:    make(map[string]authenticationv1.ExtraValue, len(caller.GetExtra())),
	}
	for key, values := range caller.GetExtra() {
		info.Extra[key] = values
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: info},
	}, nil
}
