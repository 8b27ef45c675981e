package knative

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const workflows = "../../.github/workflows"

func TestTheWorkflowsAreWhatGitHubTakes(t *testing.T) {
	files, err := filepath.Glob(workflows + "/*.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v: %v", files, err)
	}
	if answer, err := run("", append([]string{"go", "tool", "actionlint", "-no-color"}, files...)...); err != nil {
		t.Error(answer)
	}
}

// A tag can be moved to somebody else's code.
func TestEveryActionIsPinnedAndNothingIsWrittenByDefault(t *testing.T) {
	pinned := regexp.MustCompile(`^[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	files, err := filepath.Glob(workflows + "/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			_, action, uses := strings.Cut(line, "uses: ")
			if uses && !strings.HasPrefix(action, "./") && !pinned.MatchString(action) {
				t.Errorf("%s: %s", file, action)
			}
		}
		if !strings.Contains(string(text), "\npermissions:\n  contents: read\n") {
			t.Errorf("%s does not begin with reading alone", file)
		}
		if checkouts := strings.Count(string(text), "actions/checkout@"); checkouts != strings.Count(string(text), "persist-credentials: false") {
			t.Errorf("%s leaves its token in a clone", file)
		}
	}
}

// The release job compares these before it builds anything.
func TestProgramChartAndManifestsHaveOneVersion(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	found := regexp.MustCompile(`(?m)^version = "(.*)"$`).FindStringSubmatch(read("../../Cargo.toml"))
	if found == nil {
		t.Fatal("no version")
	}
	version := found[1]
	for file, line := range map[string]string{
		chart + "/Chart.yaml":                          "\nversion: " + version + "\nappVersion: " + version + "\n",
		manifests + "/base/service.yaml":               "image: fleet-webhook.example/fleet-webhook:" + version + "\n",
		manifests + "/kubernetes/base/deployment.yaml": "image: fleet-webhook.example/fleet-webhook:" + version + "\n",
	} {
		if !strings.Contains(read(file), line) {
			t.Errorf("%s: no %q", file, line)
		}
	}
}
