package mlflowyaml

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"headrace/internal/config"
)

// kind is what a node is to MLflow, which reads YAML 1.1.
type kind string

const (
	aNull    kind = "null"
	aText    kind = "a string"
	aNumber  kind = "a number"
	aBool    kind = "true or false"
	aDate    kind = "a date"
	aList    kind = "a list"
	aMapping kind = "a mapping"
)

// node is one value of the document, with anchors and merge keys resolved.
type node struct {
	kind  kind
	line  int
	text  string // of a scalar
	items []*node
	keys  []string // of a mapping, in order
	at    map[string]*node
}

// get is a member of a mapping; nil when there is none.
func (n *node) get(key string) *node {
	if n == nil || n.kind != aMapping {
		return nil
	}
	return n.at[key]
}

func (n *node) set(key string, value *node) {
	if _, twice := n.at[key]; !twice {
		n.keys = append(n.keys, key)
	}
	n.at[key] = value // as in MLflow, the last one counts
}

const (
	maxDepth = 100
	maxNodes = 100_000 // aliases can multiply a small document
)

// builder turns a syntax tree into nodes.
type builder struct {
	anchors map[string]*node
	nodes   int
}

var errTooLarge = errors.New("the document is too deep or, with its aliases, too large")

// read parses the one document of text.
func read(text []byte) (*node, error) {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, fmt.Errorf("this is not YAML: %s", reason(err))
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); doc.Body != nil && !directive { // %YAML 1.1, say
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) != 1 {
		return nil, fmt.Errorf("the file holds %d YAML documents; one is needed", len(bodies))
	}
	b := &builder{anchors: make(map[string]*node)}
	return b.build(bodies[0], 0)
}

// reason is where and why a document is not YAML. The parser's own text has the lines around the place, and they may hold
// secrets.
func reason(err error) string {
	var syntax interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &syntax) {
		return "it cannot be read"
	}
	message := config.Discreet(syntax.GetMessage())
	if at := syntax.GetToken(); at != nil && at.Position != nil {
		return fmt.Sprintf("line %d, column %d: %s", at.Position.Line, at.Position.Column, message)
	}
	return message
}

func (b *builder) build(n ast.Node, depth int) (*node, error) {
	if b.nodes++; depth > maxDepth || b.nodes > maxNodes {
		return nil, errTooLarge
	}
	out := &node{line: line(n)}
	if b.scalar(out, n) {
		return out, nil
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		return out, b.list(out, n, depth)
	case *ast.MappingNode:
		out.kind, out.at = aMapping, make(map[string]*node)
		return out, b.members(out, n.Values, depth)
	case *ast.MappingValueNode:
		out.kind, out.at = aMapping, make(map[string]*node)
		return out, b.members(out, []*ast.MappingValueNode{n}, depth)
	case *ast.AnchorNode:
		inner, err := b.build(n.Value, depth+1)
		if err == nil {
			b.anchors[n.Name.GetToken().Value] = inner
		}
		return inner, err
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if b.anchors[name] == nil {
			return nil, fmt.Errorf("line %d: an alias (*) has no anchor (&) of its name above it; put a value that begins with * in quotes", out.line)
		}
		return b.anchors[name], nil
	case *ast.TagNode:
		tag := n.Start.Value
		is, known := tagged(tag)
		if !known {
			return nil, fmt.Errorf("line %d: a tag (!) is not understood; put a value that begins with ! in quotes", out.line)
		}
		inner, err := b.build(n.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if (is == aList || is == aMapping || inner.kind == aList || inner.kind == aMapping) && inner.kind != is {
			return nil, fmt.Errorf("line %d: what the tag %s stands before is %s", out.line, tag, inner.kind)
		}
		inner.kind = is
		return inner, nil
	default:
		return nil, fmt.Errorf("line %d: a %s is not understood", out.line, n.Type())
	}
}

// scalar fills out in when n is one value, and reports whether it is.
func (b *builder) scalar(out *node, n ast.Node) bool {
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = aNull
	case *ast.BoolNode:
		out.kind, out.text = aBool, n.GetToken().Value
	case *ast.IntegerNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = aNumber, n.GetToken().Value
	case *ast.FloatNode:
		out.kind, out.text = aNumber, n.GetToken().Value
		if !strings.Contains(out.text, ".") { // 1e3 is a string in YAML 1.1
			out.kind = aText
		}
	case *ast.StringNode:
		out.kind, out.text = aText, n.Value
		if n.GetToken().Type == token.StringType { // without quotes
			out.kind = plainKind(n.Value)
		}
	case *ast.LiteralNode:
		out.kind, out.text = aText, n.Value.Value
	default:
		return false
	}
	return true
}

// plainKind is what YAML 1.1 makes of some words that YAML 1.2 takes for text: yes and no, dates, and 12:30, which
// is a number to the base of 60.
func plainKind(text string) kind {
	switch {
	case slices.Contains(strings.Fields("yes no on off"), strings.ToLower(text)):
		return aBool
	case regexp.MustCompile(`^[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`).MatchString(text):
		return aNumber
	case regexp.MustCompile(`^\d{4}-\d\d?-\d\d?([Tt ].*)?$`).MatchString(text):
		return aDate
	}
	return aText
}

// tagged are the kinds of YAML's own tags.
func tagged(tag string) (kind, bool) {
	kinds := map[string]kind{"!!str": aText, "!!int": aNumber, "!!float": aNumber, "!!bool": aBool, "!!null": aNull, "!!seq": aList, "!!map": aMapping}
	k, ok := kinds[tag]
	return k, ok
}

func (b *builder) list(out *node, n *ast.SequenceNode, depth int) error {
	out.kind = aList
	for _, value := range n.Values {
		item, err := b.build(value, depth+1)
		if err != nil {
			return err
		}
		out.items = append(out.items, item)
	}
	return nil
}

func (b *builder) members(out *node, values []*ast.MappingValueNode, depth int) error {
	for _, member := range values {
		value, err := b.build(member.Value, depth+1)
		if err != nil {
			return err
		}
		if _, merge := member.Key.(*ast.MergeKeyNode); !merge {
			out.set(keyOf(member.Key), value)
			continue
		}
		from := []*node{value}
		if value.kind == aList {
			from = value.items
		}
		for _, m := range from {
			for _, key := range m.keys {
				if out.at[key] == nil { // what is written beside it counts
					out.set(key, m.at[key])
				}
			}
		}
	}
	return nil
}

func keyOf(key ast.Node) string {
	switch key := key.(type) {
	case *ast.StringNode:
		return key.Value
	case *ast.MappingKeyNode: // ? key
		return keyOf(key.Value)
	}
	return key.GetToken().Value
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}
