package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// room is one folder with Go files: a package and its tests.
type room struct {
	path     string // slash-separated, relative to the root; "." is the root
	files    int    // production files
	code     int    // their lines with code: neither blank nor comment only
	comments int    // their lines with nothing but a comment
	tests    int    // lines with code of test files
	nats     []string
	methods  map[string]int // by type
	backdoor int            // lines of code of files named *export_test.go
	silent   []string       // exported names without a comment
}

// tree is the whole checkout.
type tree struct {
	rooms map[string]*room
	words []string // file:line: the word
}

// telltales are words that read as translated; see the section on prose in CONTRIBUTING.md.
var telltales = regexp.MustCompile(`(?i)\b(whoever|nobody|anew|meanwhile|he|his)\b`)

// skipped are folders that hold no source of this project.
func skipped(name string) bool {
	return name != "." && strings.HasPrefix(name, ".") || slices.Contains([]string{"bin", "data", "models", "node_modules", "testdata", "vendor"}, name)
}

func read(root string) (*tree, error) {
	t := &tree{rooms: make(map[string]*room)}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path != root && skipped(entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return fmt.Errorf("placing %s: %w", path, err)
		}
		switch filepath.Ext(path) {
		case ".go":
			return t.source(path, filepath.ToSlash(name))
		case ".md", ".toml":
			return t.prose(path, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the checkout: %w", err)
	}
	if len(t.rooms) == 0 {
		return nil, errors.New("no Go file is below " + root)
	}
	return t, nil
}

// prose looks for telltales in a text. The changelog is left out: it is history.
func (t *tree) prose(path, name string) error {
	if name == "CHANGELOG.md" {
		return nil
	}
	text, err := os.ReadFile(path) //nolint:gosec // a file below the root that it was told to measure
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		t.look(name, i+1, line)
	}
	return nil
}

func (t *tree) look(name string, line int, text string) {
	for _, word := range telltales.FindAllString(text, -1) {
		t.words = append(t.words, fmt.Sprintf("%s:%d: %s", name, line, word))
	}
}

func (t *tree) source(path, name string) error {
	fset := token.NewFileSet()
	text, err := os.ReadFile(path) //nolint:gosec // a file below the root that it was told to measure
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parsing: %w", err)
	}
	folder := filepath.ToSlash(filepath.Dir(name))
	r := t.rooms[folder]
	if r == nil {
		r = &room{path: folder, methods: make(map[string]int)}
		t.rooms[folder] = r
	}
	t.sentences(fset, file, name)
	code, comments := lines(fset, file, string(text))
	if strings.HasSuffix(name, "_test.go") {
		r.tests += code
		if strings.HasSuffix(name, "export_test.go") {
			r.backdoor += code
		}
		return nil
	}
	r.files++
	r.code += code
	r.comments += comments
	if knowsNATS(file) {
		r.nats = append(r.nats, name)
	}
	for _, decl := range file.Decls {
		r.declaration(decl)
	}
	return nil
}

// sentences looks for telltales in comments and in strings, which are error texts and logs for the most part.
func (t *tree) sentences(fset *token.FileSet, file *ast.File, name string) {
	if strings.HasPrefix(name, "internal/house/") {
		return // which must write the words to find them
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			t.look(name, fset.Position(comment.Pos()).Line, comment.Text)
		}
	}
	if strings.HasSuffix(name, "_test.go") {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			t.look(name, fset.Position(literal.Pos()).Line, literal.Value)
		}
		return true
	})
}

// lines counts the lines with code and those with a comment only.
func lines(fset *token.FileSet, file *ast.File, text string) (code, comments int) {
	commented := make(map[int]bool)
	for _, group := range file.Comments {
		for line := fset.Position(group.Pos()).Line; line <= fset.Position(group.End()).Line; line++ {
			commented[line] = true
		}
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case commented[i+1] && (strings.HasPrefix(line, "//") || strings.HasPrefix(line, "/*") || strings.HasPrefix(line, "*")):
			comments++
		default:
			code++
		}
	}
	return code, comments
}

func knowsNATS(file *ast.File) bool {
	return slices.ContainsFunc(file.Imports, func(spec *ast.ImportSpec) bool {
		return strings.HasPrefix(spec.Path.Value, `"github.com/nats-io/`)
	})
}

// declaration counts methods and notes exported names without a comment.
func (r *room) declaration(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		owner := ""
		if d.Recv != nil && len(d.Recv.List) == 1 {
			owner = typeName(d.Recv.List[0].Type)
			r.methods[owner]++
		}
		if d.Name.IsExported() && (owner == "" || ast.IsExported(owner)) && d.Doc == nil && !standard(d.Name.Name) {
			r.silent = append(r.silent, r.path+": "+strings.TrimPrefix(owner+"."+d.Name.Name, "."))
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if named, ok := spec.(*ast.TypeSpec); ok && named.Name.IsExported() && d.Doc == nil && named.Doc == nil {
				r.silent = append(r.silent, r.path+": "+named.Name.Name)
			}
		}
	}
}

// standard reports whether a method's promise is that of the interface in the standard library it implements.
func standard(name string) bool {
	return slices.Contains([]string{
		"Error", "Unwrap", "String", "Len", "Less", "Swap", "Push", "Pop", "Is", "ServeHTTP", "Describe", "Collect",
		"MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "UnmarshalTOML", "Read", "Write", "Close", "LogValue", "Header", "WriteHeader", "Flush",
	}, name)
}

func typeName(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
