// SPDX-License-Identifier: Apache-2.0

// Package apiserver assembles the API server: scheme and codecs, the filters around the handlers, and the API groups.
// It takes a complete generic configuration (see pkg/server/options) and only adds what is specific to this project. It
// must never install a storage for SecureValue that was not built by pkg/registry/securevalue.
package apiserver
