package knative

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Prometheus' own tool plays the figures of testdata/alerts.yaml to the alerts.
func TestAlertsRingWhenTheyShouldAndOnlyThen(t *testing.T) {
	needs(t, "promtool")
	rule := find(t, render(t, "testdata/monitored"), "monitoring.coreos.com/v1", "PrometheusRule")
	var read struct{ Spec map[string]any }
	if err := yaml.Unmarshal(rule.text, &read); err != nil {
		t.Fatal(err)
	}
	groups, err := yaml.Marshal(read.Spec)
	if err != nil {
		t.Fatal(err)
	}
	played, err := os.ReadFile("testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range map[string][]byte{"rules.yaml": groups, "alerts.yaml": played} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := run("", "promtool", "check", "rules", filepath.Join(folder, "rules.yaml")); err != nil {
		t.Error(answer)
	}
	if answer, err := run("", "promtool", "test", "rules", filepath.Join(folder, "alerts.yaml")); err != nil {
		t.Error(answer)
	}
}

// An alert on a figure that nobody counts never rings.
func TestAlertsAskForFiguresThatThereAre(t *testing.T) {
	rules, err := os.ReadFile(chart + "/rules/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	counted, err := os.ReadFile("../../src/telemetry/metrics.rs")
	if err != nil {
		t.Fatal(err)
	}
	figures := regexp.MustCompile(`fleet_webhook_([a-z_]+)`).FindAllSubmatch(rules, -1)
	if len(figures) < 5 {
		t.Fatalf("only %d figures", len(figures))
	}
	for _, figure := range figures {
		name := strings.TrimSuffix(strings.TrimSuffix(string(figure[1]), "_total"), "_seconds")
		if !strings.Contains(string(counted), `"`+name+`"`) {
			t.Errorf("nobody counts %s", figure[0])
		}
	}
}
