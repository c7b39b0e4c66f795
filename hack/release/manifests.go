// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// placeholder is the image that deploy/overlays/production names.
const placeholder = "registry.example.com/secret-apiserver"

// manifests writes install.yaml, which is the production overlay with this version's tag, built by the kustomize of the
// pinned kubectl; and an archive of what overlays are made of.
func (b *builder) manifests(ctx context.Context, o options) error {
	if _, err := output(ctx, b.root, b.env, filepath.Join(b.root, "hack", "build-kubectl.sh")); err != nil {
		return err
	}
	production := filepath.Join(b.root, "deploy", "overlays", "production")
	relative, err := filepath.Rel(b.work, production)
	if err != nil {
		return fmt.Errorf("finding deploy/overlays/production: %w", err)
	}
	image := o.image
	if image == "" {
		image = placeholder
	}
	overlay := fmt.Sprintf(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%q]
images: [{name: %q, newName: %q, newTag: %q}]
`, filepath.ToSlash(relative), placeholder, image, b.version)
	if err := os.WriteFile(filepath.Join(b.work, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		return fmt.Errorf("writing an overlay: %w", err)
	}
	rendered, err := output(ctx, b.work, b.env, filepath.Join(b.root, "bin", "kubectl"), "kustomize", ".")
	if err != nil {
		return err
	}
	if !strings.Contains(rendered, "image: "+image+":"+b.version+"\n") {
		return fmt.Errorf("deploy/overlays/production has no image %s, which hack/release would give the tag of this version", placeholder)
	}
	if err := writeFile(filepath.Join(o.out, "install.yaml"), []byte(rendered+"\n")); err != nil {
		return err
	}
	return b.deploy(ctx, o)
}

// deploy packs the manifests that git tracks, and the script that makes the first key.
func (b *builder) deploy(ctx context.Context, o options) error {
	listed, err := output(ctx, b.root, b.env, "git", "ls-files", "-z", "deploy", "config", "LICENSE", "hack/new-encryption-config.sh")
	if err != nil {
		return err
	}
	var entries []entry
	for name := range strings.SplitSeq(strings.TrimSuffix(listed, "\x00"), "\x00") {
		entries = append(entries, entry{name: name, file: filepath.Join(b.root, name), executable: strings.HasSuffix(name, ".sh")})
	}
	folder := "secret-apiserver_" + b.version + "_manifests"
	return writeArchive(filepath.Join(o.out, folder+".tar.gz"), folder, b.date, entries)
}
