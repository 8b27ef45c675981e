package knative

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
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

// The steps of release.yml that are no actions, on a copy of this tree and one after the other, as GitHub runs them. Programs
// that would build for long or publish are played, with what they take and print; Helm packs the chart itself.
func TestTheStepsOfAReleaseRunAsTheyStand(t *testing.T) {
	tree, programs := t.TempDir(), t.TempDir()
	if answer, err := run("", "bash", "-euc", `git -C ../.. ls-files -z | (cd ../.. && xargs -0 cp --parents -t "$0") && cd "$0" &&
		sed -i "s/^## Unreleased$/## 0.1.0 (2026-01-01)/" CHANGELOG.md && mkdir dist && touch dist/bootstrap-{x86_64,arm64}.zip`, tree); err != nil {
		t.Fatal(answer)
	}
	for name, text := range map[string]string{
		"cargo": `
case "$1" in
lambda) mkdir -p target/lambda/fleet-webhook && head -c 5000000 /dev/zero >target/lambda/fleet-webhook/bootstrap.zip ;;
build) [[ $* =~ --target\ ([a-z0-9_-]+)\ --target-dir\ target/image ]] && install -D /bin/true "target/image/${BASH_REMATCH[1]}/release/fleet-webhook" ;;
esac`,
		"docker": `
: "${ARCHITECTURE:=}"
case "$*" in
"build --file knative/Dockerfile --tag $IMAGE:0.1.0-$ARCHITECTURE --platform linux/$ARCHITECTURE "*) [ -x "${!#}/fleet-webhook" ] ;;
"image inspect --format {{.Size}} $IMAGE:0.1.0-$ARCHITECTURE") echo 9000000 ;;
"push $IMAGE:0.1.0-$ARCHITECTURE") ;;
"buildx imagetools create --tag $IMAGE:0.1.0 $IMAGE:0.1.0-amd64 $IMAGE:0.1.0-arm64") ;;
"buildx imagetools inspect $IMAGE:0.1.0 --format {{.Manifest"*) printf 'Name: a table\nDigest: sha256:' ;;
"buildx imagetools inspect $IMAGE:0.1.0 --format {{json .Manifest.Digest}}") printf '"sha256:%064d"' 1 ;;
*) false ;;
esac`,
		"cosign": `
case "$1 $2" in
"sign --yes") [[ $3 =~ ^ghcr.io/acme/(charts/)?fleet-webhook@sha256:0{63}[12]$ ]] ;;
"sign-blob --yes") [ "$3 $5" = "--bundle checksums.txt" ] && sha256sum --check --quiet "$5" && touch "$4" ;;
*) false ;;
esac`,
		"helm": `
if [ "$1" = push ]; then
    [ -f "$2" ] && [ "$3" = oci://ghcr.io/acme/charts ]
    printf 'Pushed: ghcr.io/acme/charts/fleet-webhook:0.1.0\nDigest: sha256:%064d\n' 2 >&2
else
    exec ` + helm(t) + ` "$@"
fi`,
		"gh": `
[ "$1 $2 $3 $4 $5 $6 $7" = "release create v0.1.0 --verify-tag --title 0.1.0 --notes-file" ]
grep -q 'A Helm chart' "$8"
shift 8
echo "released: $*"`,
	} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/bash\nset -eu"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var workflow struct {
		Env  map[string]string
		Jobs map[string]struct {
			Env   map[string]string
			Steps []struct {
				ID, Name, Run string
				Env           map[string]string
			}
		}
	}
	text, err := os.ReadFile(workflows + "/release.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &workflow); err != nil {
		t.Fatal(err)
	}
	known := map[string]string{"github.repository_owner": "acme", "github.token": "token", "matrix.architecture": runtime.GOARCH}
	expression := regexp.MustCompile(`\$\{\{ ([a-z_.]+) \}\}`)
	var said string
	for _, name := range []string{"version", "build", "publish"} {
		job := workflow.Jobs[name]
		for _, step := range job.Steps {
			if step.Run == "" || step.Name == "Toolchain" {
				continue
			}
			outputs := filepath.Join(t.TempDir(), "outputs")
			command := []string{"env", "-C", tree, "PATH=" + programs + ":" + os.Getenv("PATH"), "GITHUB_REF_NAME=v0.1.0", "GITHUB_OUTPUT=" + outputs}
			for _, variables := range []map[string]string{workflow.Env, job.Env, step.Env} {
				for name, value := range variables {
					command = append(command, name+"="+expression.ReplaceAllStringFunc(value, func(found string) string {
						value, is := known[expression.FindStringSubmatch(found)[1]]
						if !is {
							t.Fatalf("%s: %s is not known", step.Name, found)
						}
						return value
					}))
				}
			}
			said, err = run("", append(command, "bash", "--noprofile", "--norc", "-exo", "pipefail", "-c", step.Run)...)
			if err != nil {
				t.Fatalf("%s: %s", step.Name, said)
			}
			written, _ := os.ReadFile(outputs)
			for _, line := range strings.Fields(string(written)) {
				output, value, _ := strings.Cut(line, "=")
				known["steps."+step.ID+".outputs."+output] = value
				known["needs."+name+".outputs."+output] = value
			}
		}
	}
	for _, file := range []string{"bootstrap-arm64.zip", "bootstrap-x86_64.zip", "checksums.txt", "checksums.txt.sigstore.json",
		"fleet-webhook-0.1.0.tgz", "template.yaml"} {
		if !strings.Contains(said, "dist/"+file) {
			t.Errorf("no %s in %s", file, said)
		}
	}
	if answer, err := run("", helm(t), "template", filepath.Join(tree, "dist/fleet-webhook-0.1.0.tgz")); err != nil ||
		!strings.Contains(answer, "image: ghcr.io/acme/fleet-webhook@sha256:"+strings.Repeat("0", 63)+"1\n") {
		t.Errorf("the chart names another image: %v %s", err, answer)
	}
}
