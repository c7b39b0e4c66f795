// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/agent/csiproviderv1alpha1"
)

const (
	podAttributes = "csi.storage.k8s.io/"
	podTokens     = podAttributes + "serviceAccount.tokens"

	// maxVolumeFiles is maxNames of a call, maxVolumeBytes what a Secret may have.
	maxVolumeFiles = 128
	maxVolumeBytes = 1 << 20
)

// volumeID identifies a volume of a Pod.
type volumeID struct{ pod, path string }

// csiVolume is what the driver wants mounted.
type csiVolume struct {
	id        volumeID
	pod       string // NAMESPACE/NAME, for the log
	namespace string // of the secure values
	token     string // of the Pod
	files     []csiFile
}

type csiFile struct {
	target
	mode int32
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// newCSIVolume checks a request. Its errors are *connect.Error and quote keys and paths, no tokens. With an error the
// volume has its pod if the request does.
func newCSIVolume(r *csiproviderv1alpha1.MountRequest) (*csiVolume, error) {
	v := &csiVolume{pod: "of an unknown name"}
	var attributes map[string]string
	if json.Unmarshal([]byte(r.GetAttributes()), &attributes) != nil {
		return v, invalid("attributes: expected a JSON object of strings")
	}
	v.id = volumeID{attributes[podAttributes+"pod.uid"], r.GetTargetPath()}
	podNamespace := attributes[podAttributes+"pod.namespace"]
	if v.id.pod == "" || v.id.path == "" || podNamespace == "" {
		return v, invalid("attributes lack UID or namespace of the Pod, or the request lacks the target path: " +
			"the CSIDriver object needs podInfoOnMount: true")
	}
	v.pod = podNamespace + "/" + attributes[podAttributes+"pod.name"]
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		known := slices.Contains([]string{"namespace", "objects", "secretProviderClass", "providerName"}, key)
		if !known && !strings.HasPrefix(key, podAttributes) {
			return v, invalid("unknown parameter %q: a SecretProviderClass has namespace and objects", key)
		}
	}
	if v.namespace = attributes["namespace"]; v.namespace == "" {
		v.namespace = podNamespace
	}
	permission := int32(0o444)
	if text := r.GetPermission(); text != "" {
		if json.Unmarshal([]byte(text), &permission) != nil || permission < 0 || permission > 0o777 {
			return v, invalid("permission: expected a number from 0 to 511")
		}
	}
	var err error
	if v.files, err = parseObjects(attributes["objects"], permission&^0o222); err != nil {
		return v, invalid("parameter objects: %w", err)
	}
	v.token, err = podToken(attributes[podTokens], r.GetSecrets())
	return v, err
}

// podToken returns the token for the decrypt port. Drivers put the tokens of a Pod into attributes, secrets or both.
func podToken(tokens, secrets string) (string, error) {
	if tokens == "" && secrets != "" {
		var keys map[string]string
		if json.Unmarshal([]byte(secrets), &keys) != nil {
			return "", invalid("secrets: expected a JSON object of strings")
		}
		tokens = keys[podTokens]
	}
	var issued map[string]struct{ Token string }
	if tokens != "" && json.Unmarshal([]byte(tokens), &issued) != nil {
		return "", invalid("%s: expected a JSON object of tokens", podTokens)
	}
	token := issued[audience].Token
	if len(strings.Fields(token)) != 1 {
		return "", connect.NewError(connect.CodeUnauthenticated, errors.New("the driver sent no token for audience "+
			audience+"; run: kubectl patch csidriver secrets-store.csi.k8s.io --type=merge "+
			`-p='{"spec":{"tokenRequests":[{"audience":"`+audience+`"}]}}'`))
	}
	return token, nil
}

// parseObjects parses the list of files. Errors quote keys and paths only: anything else may be a value by mistake.
func parseObjects(text string, mode int32) ([]csiFile, error) {
	var objects []map[string]any
	if yaml.UnmarshalStrict([]byte(text), &objects) != nil {
		return nil, errors.New("expected a YAML list of mappings with path and name, where no key is repeated")
	}
	if len(objects) == 0 || len(objects) > maxVolumeFiles {
		return nil, fmt.Errorf("%d files: a volume has 1 to %d", len(objects), maxVolumeFiles)
	}
	paths := map[string]bool{}
	files := make([]csiFile, len(objects))
	for i, object := range objects {
		file, err := parseObject(object, mode)
		if err == nil {
			var clean string
			if clean, err = addPath(paths, file.to); err == nil && clean != file.to {
				err = fmt.Errorf("path %q: write it as %q", file.to, clean)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		files[i] = file
	}
	return files, nil
}

func parseObject(object map[string]any, mode int32) (csiFile, error) {
	f := csiFile{mode: mode}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		text, ok := object[key].(string)
		switch {
		case key != "path" && key != "name" && key != "mode":
			return f, fmt.Errorf("unknown key %q: keys are path, name and mode", key)
		case !ok:
			return f, fmt.Errorf("%s: expected a string; quote numbers", key)
		case key == "path":
			f.to = text
		case key == "name":
			f.name = text
		default:
			n, err := strconv.ParseInt(text, 8, 32)
			if err != nil || n > 0o777 || text[0] != '0' {
				return f, errors.New(`mode: expected "0" to "0777"`)
			}
			f.mode = int32(n)
		}
	}
	if !secureValueName.MatchString(f.name) {
		return f, errors.New("name: expected the name of a secure value")
	}
	return f, nil
}

// names returns the names of the secure values, each once.
func (v *csiVolume) names() []string {
	var names []string
	for _, f := range v.files {
		names = append(names, f.name)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// respond returns all files of the volume.
func (v *csiVolume) respond(values values, versions map[string]string) (*csiproviderv1alpha1.MountResponse, error) {
	response, size := &csiproviderv1alpha1.MountResponse{}, 0
	for _, f := range v.files {
		contents := []byte(values[f.name].Expose())
		size += len(contents)
		response.Files = append(response.Files,
			&csiproviderv1alpha1.File{Path: f.to, Mode: f.mode, Contents: contents})
	}
	if size > maxVolumeBytes {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf(
			"the files have %d bytes together: a volume has at most %d; use several volumes", size, maxVolumeBytes))
	}
	for _, name := range v.names() {
		version := versions[name]
		if version == "" {
			version = strconv.FormatInt(values[name].Version(), 10)
		}
		response.ObjectVersion = append(response.ObjectVersion,
			&csiproviderv1alpha1.ObjectVersion{Id: v.namespace + "/" + name, Version: version})
	}
	return response, nil
}
