package knative

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// The chart's folder as Fleet takes it (internal/bundlereader and internal/helmdeployer of rancher/fleet, which is not to
// be had as a Go module): each folder with a fleet.yaml is a bundle, with all files below it that are not hidden; with a
// Chart.yaml at its root it is a chart, which Fleet's own Helm renders with the bundle's values and the cluster's labels.
func TestTheChartsFolderIsABundleOfFleet(t *testing.T) {
	repository := documentedGitRepo(t)
	if !slices.Equal(repository.Spec.Paths, []string{"knative/chart"}) || repository.Metadata.Namespace != "fleet-local" {
		t.Errorf("docs/in-the-cluster.md has %+v", repository)
	}
	bundled := t.TempDir()
	var size int
	var bundles, roots []string
	err := filepath.WalkDir(chart, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(chart, path)
		switch {
		case entry.Name() == "fleet.yaml":
			bundles = append(bundles, name)
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(bundled, name), 0o755)
		case strings.HasPrefix(entry.Name(), "."):
			return nil
		case !strings.Contains(name, "/"):
			roots = append(roots, name)
		}
		text, err := os.ReadFile(path)
		size += len(text)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(bundled, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(bundles, []string{"fleet.yaml"}) {
		t.Errorf("the bundles are %v", bundles)
	}
	if !slices.Contains(roots, "Chart.yaml") || slices.Contains(roots, "kustomization.yaml") {
		t.Errorf("at its root are %v", roots)
	}
	if size > 1_000_000 { // Fleet compresses what is larger
		t.Errorf("it has %d bytes", size)
	}

	bundle := fleetYAML(t)
	plain := comparables(t, templated(t, bundle.Helm.ReleaseName, bundle.DefaultNamespace, values(t, bundle.Helm.Values), "--no-hooks"))
	bundle.Helm.Values["global"] = map[string]any{
		"fleet": map[string]any{"clusterLabels": map[string]any{"management.cattle.io/cluster-name": "local"}},
	}
	for name, helm := range helms(t) {
		rendered, err := run(values(t, bundle.Helm.Values), helm, "template", bundle.Helm.ReleaseName, bundled,
			"--namespace", bundle.DefaultNamespace, "--values=-", "--no-hooks", "--kube-version=1.33.0")
		if err != nil {
			t.Fatalf("%s: %s", name, rendered)
		}
		if difference := cmp.Diff(plain, comparables(t, split(t, []byte(rendered)))); difference != "" {
			t.Errorf("the chart (-) and the bundle by %s (+):\n%s", name, difference)
		}
	}
}

type bundle struct {
	DefaultNamespace string
	Helm             struct {
		ReleaseName string
		Values      map[string]any
	}
}

func fleetYAML(t *testing.T) (bundle bundle) {
	t.Helper()
	text, err := os.ReadFile(chart + "/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &bundle); err != nil {
		t.Fatal(err)
	}
	return bundle
}

func values(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func comparables(t *testing.T, objects []object) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, object := range objects {
		all[object.id()] = comparable(t, object)
	}
	return all
}

type gitRepo struct {
	APIVersion, Kind string
	Metadata         struct{ Name, Namespace string }
	Spec             struct {
		Repo, Branch string
		Paths        []string
	}
}

func documentedGitRepo(t *testing.T) (documented gitRepo) {
	t.Helper()
	page, err := os.ReadFile("../../docs/in-the-cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```yaml by=tests/knative/bundle_test.go\n(.*?)```\n").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/in-the-cluster.md has no GitRepo")
	}
	if err := yaml.UnmarshalStrict(block[1], &documented); err != nil {
		t.Fatal(err)
	}
	return documented
}
