// SPDX-License-Identifier: Apache-2.0

package options

import (
	"fmt"

	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/common"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/generated/openapi"
)

// title is the title of the OpenAPI documents.
const title = "Secret API server"

// Config builds the server's configuration from what Load returned. Serving must listen already.
func (o CompletedOptions) Config(inputs *Inputs) (*apiserver.Config, error) {
	generic := genericapiserver.NewConfig(apiserver.Codecs)
	if err := o.Server.applyTo(generic); err != nil {
		return nil, err
	}
	generic.EnableIndex = false
	generic.EnableProfiling = false // profiles hold memory, and memory holds values
	if err := o.Serving.applyTo(generic); err != nil {
		return nil, err
	}
	o.applyTracing(inputs.tracing, generic)
	sealer, err := o.applyEncryption(generic)
	if err != nil {
		return nil, err
	}
	storage, err := o.Storage.applyTo(generic, sealer)
	if err != nil {
		return nil, err
	}
	if err := o.applyAccess(inputs, generic); err != nil {
		return nil, err
	}
	if err := o.applyAudit(inputs.audit, generic); err != nil {
		return nil, err
	}
	if err := o.applyDecrypt(generic, sealer, inputs); err != nil {
		return nil, err
	}
	o.addFault("serving-certificate", refused, func() error { return o.Serving.fault(generic.SecureServing.Cert) })
	if err := o.applyNotices(generic); err != nil {
		return nil, err
	}
	certificateMetrics.publish(o.certificates(inputs, generic.SecureServing))
	applyOpenAPI(generic, openapi.GetOpenAPIDefinitions)
	if generic.Authorization.Authorizer == nil {
		return nil, fmt.Errorf("no authorizer is configured") // upstream would allow everything
	}
	config := &apiserver.Config{
		Generic: generic,
		Extra:   apiserver.ExtraConfig{AllowedDecrypters: o.API.AllowedDecrypters, Rewrapper: storage, Standalone: inputs.cluster == nil},
	}
	if inputs.cluster != nil {
		config.Informers = inputs.cluster.core.informers
	}
	return config, nil
}

// applyAccess sets who may do what.
func (o CompletedOptions) applyAccess(inputs *Inputs, config *genericapiserver.Config) error {
	if inputs.cluster != nil {
		o.addFault("extension-apiserver-authentication", "the ConfigMap is refused: see the log", inputs.cluster.authn.Fault)
		o.addFileFaults(inputs.cluster.authn.FileFaults())
		return inputs.cluster.applyTo(config)
	}
	if err := applyAuthentication(inputs.authn, config); err != nil {
		return err
	}
	o.addFileFaults(inputs.authn.FileFaults())
	if o.Authentication.ConfigFile != "" {
		o.addFault("token-issuers", "an issuer of --authentication-config has not answered yet, its tokens are refused: see the log", inputs.authn.HealthCheck)
	}
	return o.applyAuthorization(config, inputs.rbac)
}

func applyOpenAPI(config *genericapiserver.Config, definitions common.GetOpenAPIDefinitions) {
	namer := openapinamer.NewDefinitionNamer(apiserver.NewExternalScheme())
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIConfig.Info.Title = title
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIV3Config.Info.Title = title
}
