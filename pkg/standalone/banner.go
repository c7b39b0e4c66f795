// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	_ "embed"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/template"
)

//go:embed banner.txt
var bannerText string

var bannerTemplate = template.Must(template.New("banner").Funcs(template.FuncMap{"quote": shellQuote}).Parse(bannerText))

// BannerInfo is what a newcomer needs to reach the server.
type BannerInfo struct {
	// Listen and Decrypt are the addresses the two ports listen on; an empty Decrypt is left out.
	Listen, Decrypt string
	// ServerURL is what clients connect to, as in the kubeconfig.
	ServerURL string
	// Names are what else the certificate is for, when others than this machine can reach the server; empty is left out.
	Names string
	// Kubeconfig and CACert are paths.
	Kubeconfig, CACert string
}

// Banner writes where the server is and commands to try it with, ready to paste into a POSIX shell. Call it once ready.
func Banner(w io.Writer, info BannerInfo) error {
	var b strings.Builder
	if err := bannerTemplate.Execute(&b, info); err != nil {
		return fmt.Errorf("rendering the banner: %w", err)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shellSafe matches words that a shell takes literally.
var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`)

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
