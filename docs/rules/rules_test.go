// Package rules_test reads the sample configuration of docs/operations.md as Prometheus does. It is a module of its
// own, so that Headrace does not depend on all of Prometheus.
package rules_test

import (
	"log/slog"
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	doc, err := os.ReadFile("../operations.md")
	if err != nil {
		t.Fatal(err)
	}
	samples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(doc, -1)
	if len(samples) != 2 {
		t.Fatalf("%d samples in docs/operations.md, want the scrape configuration and the rules", len(samples))
	}
	cfg, err := config.Load(string(samples[0][1]), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.ScrapeConfigs) != 1 {
		t.Errorf("%d scrape configurations", len(cfg.ScrapeConfigs))
	}
	groups, errs := rulefmt.Parse(samples[1][1], false, model.UTF8Validation, parser.NewParser(parser.Options{}), quiet)
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) == 0 && (len(groups.Groups) != 1 || len(groups.Groups[0].Rules) < 5) {
		t.Errorf("got %+v", groups)
	}
	if _, errs := rulefmt.Parse([]byte("groups: [{name: a, rules: [{alert: A, expr: 'sum by ('}]}]"), false, model.UTF8Validation, parser.NewParser(parser.Options{}), quiet); len(errs) == 0 {
		t.Error("a broken rule is not noticed")
	}
}
