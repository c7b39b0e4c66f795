// SPDX-License-Identifier: Apache-2.0

// Package csidriver plays the Secrets Store CSI driver for a provider. It must not use the code that is generated from our
// .proto file: it has names and numbers of the driver's own.
package csidriver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// Driver is a connection to a provider, with the options of the driver.
type Driver struct{ connection *grpc.ClientConn }

// Dial connects to the socket of a provider, when it is used first.
func Dial(t testing.TB, socket string) *Driver {
	t.Helper()
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.ForceCodec(raw{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return &Driver{connection}
}

// raw passes encoded messages on.
type raw struct{}

// Name implements encoding.Codec, as the others do.
func (raw) Name() string { return "proto" }

// Marshal takes bytes.
func (raw) Marshal(message any) ([]byte, error) { return message.([]byte), nil }

// Unmarshal fills bytes.
func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// Request is a MountRequest.
type Request struct {
	Attributes, Secrets, TargetPath, Permission string
	Current                                     map[string]string
}

// NewRequest is what driver v1.6.0 sends for a volume of a Pod: the parameters of a SecretProviderClass, and the tokens of
// the Pod by audience.
func NewRequest(namespace, pod, uid string, parameters, tokens map[string]string) Request {
	const prefix = "csi.storage.k8s.io/"
	issued := map[string]map[string]string{}
	for audience, token := range tokens {
		issued[audience] = map[string]string{"token": token, "expirationTimestamp": "2036-11-29T00:00:00Z"}
	}
	attributes := map[string]string{
		"secretProviderClass": "values", prefix + "ephemeral": "true", prefix + "pod.name": pod,
		prefix + "pod.namespace": namespace, prefix + "pod.uid": uid, prefix + "serviceAccount.name": "checkout",
		prefix + "serviceAccount.tokens": encode(issued),
	}
	maps.Copy(attributes, parameters)
	return Request{
		Attributes: encode(attributes), Secrets: "null", Permission: "420",
		TargetPath: "/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~csi/values/mount",
	}
}

// Set changes an attribute; an empty value removes it.
func (r Request) Set(key, value string) Request {
	var attributes map[string]string
	if err := json.Unmarshal([]byte(r.Attributes), &attributes); err != nil {
		panic(err)
	}
	attributes[key] = value
	if value == "" {
		delete(attributes, key)
	}
	r.Attributes = encode(attributes)
	return r
}

func encode(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Answer is a MountResponse.
type Answer struct {
	Versions map[string]string
	Files    map[string]File
	Code     string // of Error
}

// File is a file of a MountResponse.
type File struct {
	Mode     int32
	Contents string
}

// Mount calls the provider.
func (d *Driver) Mount(ctx context.Context, r Request) (Answer, error) {
	var request []byte
	for number, text := range map[protowire.Number]string{1: r.Attributes, 2: r.Secrets, 3: r.TargetPath, 4: r.Permission} {
		request = field(request, number, []byte(text))
	}
	for id, version := range r.Current {
		request = field(request, 5, field(field(nil, 1, []byte(id)), 2, []byte(version)))
	}
	var response []byte
	if err := d.connection.Invoke(ctx, "/v1alpha1.CSIDriverProvider/Mount", request, &response); err != nil {
		return Answer{}, err
	}
	a := Answer{Versions: map[string]string{}, Files: map[string]File{}}
	err := fields(response, func(number protowire.Number, data []byte, _ uint64) error {
		var text [3]string
		var mode uint64
		err := fields(data, func(inner protowire.Number, data []byte, n uint64) error {
			if inner == 2 && number == 3 {
				mode = n
			} else if inner <= 3 {
				text[inner-1] = string(data)
			}
			return nil
		})
		switch number {
		case 1:
			a.Versions[text[0]] = text[1]
		case 2:
			a.Code = text[0]
		case 3:
			a.Files[text[0]] = File{int32(mode), text[2]}
		default:
			return fmt.Errorf("unknown field %d", number)
		}
		return err
	})
	return a, err
}

// Version calls the provider and returns the fields of the VersionResponse.
func (d *Driver) Version(ctx context.Context) (texts [3]string, _ error) {
	var response []byte
	request := field(nil, 1, []byte("v1alpha1"))
	if err := d.connection.Invoke(ctx, "/v1alpha1.CSIDriverProvider/Version", request, &response); err != nil {
		return texts, err
	}
	return texts, fields(response, func(number protowire.Number, data []byte, _ uint64) error {
		texts[number-1] = string(data)
		return nil
	})
}

func field(message []byte, number protowire.Number, data []byte) []byte {
	if len(data) == 0 {
		return message
	}
	return protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), data)
}

// fields calls visit with the bytes or the number of each field of a message.
func fields(message []byte, visit func(number protowire.Number, data []byte, n uint64) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		var data []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(message)
		default:
			return fmt.Errorf("field %d has type %d", number, kind)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		message = message[size:]
		if err := visit(number, data, n); err != nil {
			return err
		}
	}
	return nil
}
