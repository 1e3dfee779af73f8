package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/faults.md has each of its scenarios once, and names tests that exist; a line without a test says "not yet".
func TestFaultsDocument(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]string) // by package
	named := regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+)`")
	check := func(pkg, name string) {
		if _, read := sources[pkg]; !read {
			files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				source, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				sources[pkg] += string(source)
			}
		}
		if !strings.Contains(sources[pkg], "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("%s has no test %s", pkg, name)
		}
	}
	found := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		number := regexp.MustCompile(`^\| (\d+) \|`).FindStringSubmatch(line)
		tests := named.FindAllStringSubmatch(line, -1)
		if number != nil {
			found[number[1]]++
			if len(tests) == 0 && !strings.Contains(line, "not yet") {
				t.Errorf("scenario %s has no test and does not say why", number[1])
			}
		}
		for _, test := range tests {
			check(test[1], test[2])
		}
	}
	wanted := 0
	for _, span := range [][2]int{{1, 15}, {19, 19}, {21, 22}, {27, 45}, {47, 49}, {52, 55}, {58, 59}, {63, 65}, {67, 68}, {71, 76}} {
		for n := span[0]; n <= span[1]; n++ {
			if wanted++; found[strconv.Itoa(n)] != 1 {
				t.Errorf("scenario %d stands there %d times", n, found[strconv.Itoa(n)])
			}
		}
	}
	if len(found) != wanted {
		t.Errorf("%d scenarios, want %d", len(found), wanted)
	}
}
