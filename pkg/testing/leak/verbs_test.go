// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const namespace = "leaks"

// verb is one way to send a body.
type verb struct {
	name, method string
	// collection sends to the collection, everything else to one object.
	collection  bool
	path, query string
	// types are the content types by the format of the body; "" sends none.
	types map[format][]string
	// exact says that kinds predict the outcome. It is false where the body is not a SecureValue, or JSON is read as
	// YAML.
	exact bool
}

var objectTypes = map[format][]string{
	asJSON:     {"application/json", ""},
	asYAML:     {"application/yaml"},
	asProtobuf: {"application/vnd.kubernetes.protobuf"},
}

func only(f format, contentType string) map[format][]string {
	return map[format][]string{f: {contentType}}
}

var verbs = []verb{
	{name: "create", method: "POST", collection: true, types: objectTypes, exact: true},
	{name: "replace", method: "PUT", types: objectTypes, exact: true},
	{name: "merge patch", method: "PATCH", types: only(asJSON, "application/merge-patch+json"), exact: true},
	{name: "strategic patch", method: "PATCH", types: only(asJSON, "application/strategic-merge-patch+json")},
	{name: "JSON patch", method: "PATCH", types: only(asJSONPatch, "application/json-patch+json"), exact: true},
	{name: "apply", method: "PATCH", query: "&force=true", types: only(asYAML, "application/apply-patch+yaml"),
		exact: true},
	{name: "apply of JSON", method: "PATCH", query: "&force=true", types: only(asJSON, "application/apply-patch+yaml")},
	{name: "delete", method: "DELETE", types: objectTypes},
	{name: "deletecollection", method: "DELETE", collection: true, query: "&labelSelector=no%3Dsuch",
		types: objectTypes},
	{name: "create in place", method: "POST", types: objectTypes},
	{name: "replace of the collection", method: "PUT", collection: true, types: objectTypes},
	{name: "rewrap", method: "POST", path: "/rewrap", types: objectTypes},
	{name: "reseal", method: "POST", path: "/reseal", types: objectTypes},
	{name: "status", method: "PUT", path: "/status", types: objectTypes},
	{name: "unknown subresource", method: "PATCH", path: "/value", types: only(asJSON, "application/merge-patch+json")},
}

// readPaths put a canary (%) into the URL, below the collection: as a value, never as the name of a parameter.
var readPaths = []string{
	"?fieldSelector=spec.value%3D%", "?fieldSelector=spec.value%3D%3D%", "?fieldSelector=spec.value!%3D%",
	"?fieldSelector=value%3D%", "?fieldSelector=%", "?fieldSelector=%%3D", "?fieldSelector=%3D%",
	"?fieldSelector=metadata.name%3Da,spec.value%3D%", "?fieldSelector=spec.value%3D%,metadata.name%3Da",
	"?fieldSelector=spec.value%3Da&fieldSelector=spec.value%3D%",
	"?watch=true&timeoutSeconds=1&fieldSelector=spec.value%3D%",
	"?limit=1&fieldSelector=data.value%3D%", "?value=%", "?spec.value=%", "?data=%", "?stringData=%&limit=1", "?%",
	"?limit=2&fieldselector=spec.value%3D%", "?limit=2;value=%", "?fieldSelector=spec.value%3D%%ZZ", "?value=%ZZ%",
	"/name?value=%", "/name?fieldSelector=spec.value%3D%", "/name?dryRun=All&spec.value=%",
}

// plainReads have no canary in them: what they show is what was written. They are never sent as a DELETE.
var plainReads = []string{
	"", "?limit=500", "?watch=true&timeoutSeconds=1&resourceVersion=0", "/worker-0", "/worker-1",
	"/worker-0?includeObject=Object",
}

// readMethods go with each of readPaths.
var readMethods = []string{"GET", "DELETE", "HEAD", "OPTIONS", "GET"}

// accepts are what a client may ask for; reads and writes take turns.
var accepts = []string{
	"", "application/json", "", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
	"application/cbor",
	"application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
}

// validations and dryRuns are the query parameters that every write takes turns with.
var (
	validations = []string{"", "&fieldValidation=Strict", "&fieldValidation=Warn", "&fieldValidation=Ignore"}
	dryRuns     = []string{"", "", "&dryRun=All"}
)

// aCase is one row of the table.
type aCase struct {
	verb        verb
	kind        kind
	format      format
	contentType string
	// method and read are set for a request without a body, ask for one to the decrypt port.
	read, method string
	ask          ask
}

func (a aCase) String() string {
	switch {
	case a.ask.name != "":
		return "decrypt: " + a.ask.name
	case a.method != "":
		return a.method + " " + a.read
	}
	return a.verb.name + " of " + strconv.Quote(a.contentType) + ", " + a.kind.name
}

// table is every verb with every content type and every kind that can be written so, every read, and every way to
// decrypt.
func table() []aCase {
	var all []aCase
	for _, v := range verbs {
		for _, k := range kinds {
			for _, f := range k.formats {
				for _, contentType := range v.types[f] {
					all = append(all, aCase{verb: v, kind: k, format: f, contentType: contentType})
				}
			}
		}
	}
	for i, path := range readPaths {
		all = append(all,
			aCase{read: path, method: "GET"},
			aCase{read: path, method: readMethods[i%len(readMethods)]})
	}
	for _, path := range plainReads {
		all = append(all, aCase{read: path, method: "GET"}, aCase{read: path, method: "HEAD"})
	}
	for _, a := range asks {
		all = append(all, aCase{ask: a})
	}
	return all
}

func (v verb) url(name string) string {
	path := harness.Collection(namespace)
	if !v.collection {
		path += "/" + name
	}
	return path + v.path + "?fieldManager=leak" + v.query
}

func readURL(path, canary string) string {
	const escapes = "%3D %ZZ"
	var b strings.Builder
	b.WriteString(harness.Collection(namespace))
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && (i+3 > len(path) || !strings.Contains(escapes, path[i:i+3])) {
			b.WriteString(url.QueryEscape(canary))
			continue
		}
		b.WriteByte(path[i])
	}
	return b.String()
}
