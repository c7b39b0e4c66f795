// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"encoding/binary"
)

const (
	decryptRPC   = "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues"
	decryptRPCv1 = "/decryptv1.SecureValueDecrypter/DecryptSecureValues"
)

// ask is one way to ask the decrypt port, for a value that is there or with a canary where none belongs.
type ask struct {
	name, contentType, accept string
	// releases says that the answer is meant to hold a value.
	releases bool
	// v1 says that the call goes to the service by its second name.
	v1 bool
	// get makes the address of a GET, body that of a call.
	get  func(name string, c *caster) string
	body func(name string, c *caster) string
}

func (a ask) call(name string, c *caster) call {
	if a.get != nil {
		return call{port: decryptPort, method: "GET", url: a.get(name, c), accept: a.accept}
	}
	url := decryptRPC
	if a.v1 {
		url = decryptRPCv1
	}
	return call{port: decryptPort, method: "POST", url: url, contentType: a.contentType, accept: a.accept,
		body: a.body(name, c)}
}

func decryptGet(name string) string {
	return "/decrypt/v1/namespaces/" + namespace + "/secrets/" + name + "/decrypt"
}

func names(name string, _ *caster) string {
	return `{"namespace":"` + namespace + `","names":[` + quote(name) + `]}`
}

func frame(message string) string {
	return "\x00" + string(binary.BigEndian.AppendUint32(nil, uint32(len(message)))) + message
}

func framed(name string, c *caster) string { return frame(names(name, c)) }

// asks are every protocol and form, and what a careless caller puts where a name belongs.
var asks = []ask{
	{name: "GET", releases: true, get: func(name string, _ *caster) string { return decryptGet(name) }},
	{name: "GET as text", accept: "text/plain", releases: true,
		get: func(name string, _ *caster) string { return decryptGet(name) }},
	{name: "GET as YAML", accept: "application/yaml",
		get: func(name string, _ *caster) string { return decryptGet(name) + "-absent" }},
	{name: "GET of an absent one", get: func(string, *caster) string { return decryptGet("absent") }},
	{name: "GET with a query", get: func(_ string, c *caster) string {
		return decryptGet("absent") + "?value=" +
			c.word()
	}},
	{name: "Connect, JSON", contentType: "application/json", releases: true, body: names},
	{name: "Connect, protobuf", contentType: "application/proto", releases: true,
		body: func(name string, _ *caster) string {
			return "\x0a" + string(rune(len(namespace))) + namespace + "\x12" + string(rune(len(name))) + name
		}},
	{name: "Connect, decryptv1", contentType: "application/json", v1: true, releases: true, body: names},
	{name: "gRPC, JSON", contentType: "application/grpc+json", releases: true, body: framed},
	{name: "gRPC-Web, JSON", contentType: "application/grpc-web+json", releases: true, body: framed},
	{name: "a value as a name", contentType: "application/json",
		body: func(_ string, c *caster) string { return names(c.word(), c) }},
	{name: "a value as a name, gRPC", contentType: "application/grpc+json",
		body: func(_ string, c *caster) string { return frame(names(c.word(), c)) }},
	{name: "a value as a namespace", contentType: "application/json", body: func(name string, c *caster) string {
		return `{"namespace":"` + c.word() + `","names":["` + name + `"]}`
	}},
	{name: "an unknown field", contentType: "application/json", body: func(_ string, c *caster) string {
		return `{"namespace":"leaks","names":["absent"],"value":"` + c.word() + `"}`
	}},
	{name: "a wrong type", contentType: "application/json", body: func(_ string, c *caster) string {
		return `{"namespace":["` + c.word() + `"],"names":` + c.number() + `}`
	}},
	{name: "cut short", contentType: "application/json",
		body: func(_ string, c *caster) string { return `{"namespace":"leaks","names":["` + c.word() }},
	{name: "no JSON", contentType: "application/json", body: func(_ string, c *caster) string { return c.word() }},
	{name: "no protobuf", contentType: "application/proto",
		body: func(_ string, c *caster) string { return "\x0a\x7f" + c.word() }},
	{name: "no frame", contentType: "application/grpc", body: func(_ string, c *caster) string { return c.word() }},
	{name: "compressed, and not", contentType: "application/grpc",
		body: func(_ string, c *caster) string { return "\x01" + frame(c.word())[1:] }},
	{name: "another media type", contentType: "text/plain", body: func(_ string, c *caster) string { return c.word() }},
}
