package knative

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A figure that was renamed in the program would leave a panel empty, and
// nothing else would tell.
func TestTheDashboardAsksForFiguresThatThereAre(t *testing.T) {
	file, err := os.ReadFile(manifests + "/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(file, &dashboard); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			for _, figure := range regexp.MustCompile(`fleet_webhook_\w+`).FindAllString(target.Expr, -1) {
				seen++
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					figure = strings.TrimSuffix(figure, suffix)
				}
				if !strings.Contains(string(readme), "`"+figure) {
					t.Errorf("%s is no figure of the README's table", figure)
				}
			}
		}
	}
	if seen < 12 {
		t.Errorf("only %d figures", seen)
	}
}
