package knative

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A public installation, in the words of docs/in-the-cluster.md.
func TestTheDocumentedInstallationsArePublicGuardedAndNamed(t *testing.T) {
	for _, folder := range installations(t)[:2] {
		var whole []byte
		for _, object := range render(t, folder) {
			whole = append(whole, object.text...)
		}
		for _, part := range []string{
			"image: registry.example.com/fleet-webhook:0.1.0\n",
			"- name: UNSIGNED_DELIVERIES\n          value: reject\n",
			": hooks.example.com\n",
		} {
			if !bytes.Contains(whole, []byte(part)) {
				t.Errorf("no %q in\n%s", part, whole)
			}
		}
		for _, part := range []string{"visibility: cluster-local", "fleet-webhook.example"} {
			if bytes.Contains(whole, []byte(part)) {
				t.Errorf("%q in\n%s", part, whole)
			}
		}
	}
}

// As a shell runs it in a clone, with Helm's own program on a real API server.
func TestTheDocumentedHelmCommandInstalls(t *testing.T) {
	page, err := os.ReadFile("../../docs/in-the-cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?s)\n```sh by=tests/knative/installations_test.go\n(.*?)```\n").FindAllSubmatch(page, -1)
	if len(commands) != 1 {
		t.Fatalf("the page has %d blocks for this test", len(commands))
	}
	cluster := serve(t)
	t.Setenv("KUBECONFIG", cluster.kubeconfig)
	t.Setenv("PATH", filepath.Dir(helm(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	notes, err := run(string(commands[0][1]), "bash", "-euc", "cd ../..; . /dev/stdin")
	if err != nil {
		t.Fatal(notes)
	}
	if !strings.Contains(notes, "https://hooks.example.com/") {
		t.Errorf("no callback URL in\n%s", notes)
	}
}

// everything is what users apply, the installations of docs/in-the-cluster.md among it.
func everything(t *testing.T) map[string]string {
	t.Helper()
	folders := maps.Clone(kustomizations)
	for _, folder := range installations(t) {
		folders[folder] = "cattle-fleet-system"
	}
	return folders
}

// installations writes each kustomization of docs/in-the-cluster.md into a folder beside
// `knative`: two whole ones, and one that stands on one of these.
func installations(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/in-the-cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	knative, err := filepath.Abs(manifests)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)\n```yaml by=tests/knative/installations_test.go\n(.*?)```\n").FindAllSubmatch(page, -1)
	if len(examples) != 3 {
		t.Fatalf("the page has %d kustomizations", len(examples))
	}
	write := func(root, name string, text []byte) string {
		folder := filepath.Join(root, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	var folders, more []string
	for _, example := range examples[:2] {
		root := t.TempDir()
		if err := os.Symlink(knative, filepath.Join(root, "knative")); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, write(root, "my-fleet-webhook", example[1]))
		more = append(more, write(root, "more", examples[2][1]))
	}
	return append(folders, more...)
}
