// SPDX-License-Identifier: Apache-2.0

// Command doc-names reports identifiers in the doc comments of this module that no Go code names: a comment that
// outlived a rename misleads its next reader. Words that are not Go, such as product names, are listed in
// hack/doc-names/words.txt.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

//go:embed words.txt
var words string

// camel matches what is written like a Go identifier of more than one word.
var camel = regexp.MustCompile(`\b([a-z]+[A-Z]|[A-Z]+[a-z0-9]+[A-Z])\w*\b`)

func main() {
	unknown, err := check(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	for _, line := range unknown {
		fmt.Fprintln(os.Stderr, line)
	}
	if len(unknown) > 0 {
		fmt.Fprintln(os.Stderr, "Correct these comments; a word that is not Go belongs into hack/doc-names/words.txt.")
		os.Exit(1)
	}
}

// check returns FILE:LINE: NAME for each name that is in a doc comment and nowhere in code.
func check(ctx context.Context) (unknown []string, err error) {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "--cached", "--others", "--exclude-standard", "*.go").Output()
	if err != nil {
		return nil, fmt.Errorf("listing Go files: %w", err)
	}
	known := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		known[word] = true
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for name := range strings.FieldsSeq(string(out)) {
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				known[n.Name] = true
			case *ast.BasicLit: // fields of JSON, kinds of objects, import paths
				for _, word := range camel.FindAllString(n.Value, -1) {
					known[word] = true
				}
			}
			return true
		})
	}
	for _, file := range files {
		if ast.IsGenerated(file) {
			continue
		}
		for _, doc := range docs(file) {
			for _, word := range camel.FindAllString(doc.Text(), -1) {
				if !known[word] {
					unknown = append(unknown, fmt.Sprintf("%s: %s", fset.Position(doc.Pos()), word))
				}
			}
		}
	}
	slices.Sort(unknown)
	return slices.Compact(unknown), nil
}

// docs returns the doc comments of a file: of the package, of declarations and of fields.
func docs(file *ast.File) (all []*ast.CommentGroup) {
	ast.Inspect(file, func(n ast.Node) bool {
		var doc *ast.CommentGroup
		switch n := n.(type) {
		case *ast.File:
			doc = n.Doc
		case *ast.GenDecl:
			doc = n.Doc
		case *ast.FuncDecl:
			doc = n.Doc
		case *ast.TypeSpec:
			doc = n.Doc
		case *ast.ValueSpec:
			doc = n.Doc
		case *ast.Field:
			doc = n.Doc
		}
		if doc != nil {
			all = append(all, doc)
		}
		return true
	})
	return all
}
