package knative

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const chart = manifests + "/chart"

// The chart and the kustomizations are two ways to one installation.
func TestTheChartRendersWhatKustomizeDoes(t *testing.T) {
	for folder, values := range map[string]string{
		manifests + "/kubernetes/overlays/instead-of-gitjob": "",
		manifests + "/kubernetes":                            "ingress: {enabled: true}",
		manifests:                                            "{knative: {enabled: true}, unsignedDeliveries: accept}",
		manifests + "/overlays/public": `
knative: {enabled: true, public: true, domains: [fleet-webhook.example.com]}`,
		"testdata/own-host-tls": `
ingress:
  enabled: true
  hosts: [hooks.acme.example]
  tls: [{hosts: [hooks.acme.example], secretName: fleet-webhook-tls}]`,
		"testdata/alb": `
shutdownDelaySeconds: 30
ingress:
  enabled: true
  className: alb
  hosts: [hooks.acme.example]
  annotations:
    alb.ingress.kubernetes.io/scheme: internet-facing
    alb.ingress.kubernetes.io/target-type: ip
    alb.ingress.kubernetes.io/healthcheck-path: /readyz
    alb.ingress.kubernetes.io/listen-ports: '[{"HTTPS": 443}]'`,
		"testdata/gitrepo-secrets": `
gitrepoSecrets: {namespaces: [fleet-default, fleet-local]}
ingress:
  enabled: true
  tls: [{hosts: [fleet-webhook.example.com], secretName: fleet-webhook-tls}]`,
		"testdata/pull": `
unsignedDeliveries: accept
pull: {queueUrl: "https://sqs.eu-central-1.amazonaws.com/111122223333/fleet", credentialsSecret: fleet-webhook-aws}`,
		"testdata/gitrepo-namespaces": "{gitrepoNamespaces: [fleet-default, fleet-local], ingress: {enabled: true}}",
		"testdata/podmonitor": `
{knative: {enabled: true}, unsignedDeliveries: accept, metrics: {podMonitor: {enabled: true}}}`,
		"testdata/monitored": "metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}",
		"testdata/retry": `
{knative: {enabled: true}, unsignedDeliveries: accept, retry: {broker: {enabled: true}}}`,
		"testdata/guarded": `
{pollingInterval: keep, networkPolicy: {enabled: true}, admissionPolicy: {enabled: true}}`,
	} {
		kustomized, charted := comparables(t, render(t, folder)), comparables(t, template(t, values))
		if difference := cmp.Diff(kustomized, charted); difference != "" {
			t.Errorf("%s (-) and the chart (+) with %s:\n%s", folder, values, difference)
		}
	}
}

func TestTwoReleasesShareNothing(t *testing.T) {
	const values = `
gitrepoSecrets: {namespaces: [fleet-default]}
gitrepoNamespaces: [fleet-default]
ingress: {enabled: true}
admissionPolicy: {enabled: true}
networkPolicy: {enabled: true}
metrics: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}`
	seen := map[string]bool{}
	for _, release := range [][2]string{
		{"fleet-webhook", rancher}, {"other", rancher}, {"fleet-webhook", "elsewhere"},
	} {
		for _, object := range templated(t, release[0], release[1], values) {
			if seen[object.id()] {
				t.Errorf("%v has a %s, as another release has", release, object.id())
			}
			seen[object.id()] = true
		}
	}
}

func TestTheImageIsChosenAsRancherChoosesIt(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for values, image := range map[string]string{
		"":                 "fleet-webhook.example/fleet-webhook:0.1.0",
		"image: {tag: v9}": "fleet-webhook.example/fleet-webhook:v9",
		"{image: {repository: acme/fleet-webhook}, global: {cattle: {systemDefaultRegistry: registry.acme.example}}}": "registry.acme.example/acme/fleet-webhook:0.1.0",
		"image: {tag: v9, digest: '" + digest + "'}":                                                                  "fleet-webhook.example/fleet-webhook@" + digest,
	} {
		deployment := find(t, template(t, values), "apps/v1", "Deployment")
		if !bytes.Contains(deployment.text, []byte("image: "+image+"\n")) {
			t.Errorf("%s: not %s in\n%s", values, image, deployment.text)
		}
	}
}

func TestKnativeAcceptsTheChart(t *testing.T) {
	for _, object := range template(t, `
knative: {enabled: true, public: true, domains: [hooks.acme.example], minScale: "0"}
retry: {broker: {enabled: true, deadLetterSink: {uri: "http://sink.acme.example"}}}
shutdownDelaySeconds: 300
extraLabels: {team: platform}
extraAnnotations: {team: platform}
imagePullSecrets: [{name: registry}]
proxy: http://proxy.example:3128`) {
		if strings.Contains(object.APIVersion, ".knative.dev/") {
			if problem := validate(t, object); problem != nil {
				t.Errorf("%s: %v", object.Kind, problem)
			}
		}
	}
}

func TestEveryVariableIsThereOnceAndANumberStaysOne(t *testing.T) {
	deployment := find(t, template(t, `
proxy: http://proxy.example:3128
config: {MAX_BODY_BYTES: 26214400, RUST_LOG: debug}
shutdownDelaySeconds: 30
webhookSecretName: hooks`), "apps/v1", "Deployment")
	var read struct {
		Spec struct {
			Template struct {
				Spec struct {
					TerminationGracePeriodSeconds int
					Containers                    []struct {
						Env []struct{ Name, Value string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(deployment.text, &read); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for _, variable := range read.Spec.Template.Spec.Containers[0].Env {
		if _, twice := variables[variable.Name]; twice {
			t.Errorf("%s is there twice", variable.Name)
		}
		variables[variable.Name] = variable.Value
	}
	for name, value := range map[string]string{
		"MAX_BODY_BYTES": "26214400", "RUST_LOG": "debug", "SHUTDOWN_DELAY": "30s", "WEBHOOK_SECRET_NAME": "hooks",
		"HTTPS_PROXY": "http://proxy.example:3128", "UNSIGNED_DELIVERIES": "reject",
	} {
		if variables[name] != value {
			t.Errorf("%s is %q and not %q", name, variables[name], value)
		}
	}
	if grace := read.Spec.Template.Spec.TerminationGracePeriodSeconds; grace < 30+30 {
		t.Errorf("the pod is killed after %d s, while it may still be at work", grace)
	}
}

// Each is refused with words that say where.
func TestHalfAConfigurationIsRefused(t *testing.T) {
	for values, words := range map[string]string{
		"ingres: {enabled: true}":              "ingres",
		"ingress: {enabled: 'yes'}":            "/ingress/enabled",
		"unsignedDeliveries: maybe":            "/unsignedDeliveries",
		"pollingInterval: 7d":                  "/pollingInterval",
		"gitrepoNamespaces: [Fleet_Default]":   "/gitrepoNamespaces/0",
		"image: {digest: latest}":              "/image/digest",
		"config: {POLLING_INTERVAL: 2h}":       "invalid propertyName 'POLLING_INTERVAL'",
		"config: {rust_log: debug}":            "invalid propertyName 'rust_log'",
		"retry: {broker: {enabled: true}}":     "retry.broker needs knative.enabled",
		"retry: {sink: 'broker.acme.example'}": "/retry/sink",
		"shutdownDelaySeconds: 10s":            "/shutdownDelaySeconds",
		"service: {type: ExternalName}":        "/service/type",
		"{knative: {enabled: true}, retry: {broker: {enabled: true}, sink: 'http://a'}}":                            "not both",
		"{knative: {enabled: true}, ingress: {enabled: true}}":                                                      "set knative.public and knative.domains",
		"{knative: {enabled: true}, service: {type: LoadBalancer}}":                                                 "Knative makes its own",
		"{knative: {enabled: true}, nodeSelector: {disk: ssd}}":                                                     "leave them out",
		"{knative: {enabled: true, domains: [hooks.acme.example]}}":                                                 "set knative.public too",
		"{knative: {enabled: true}, pull: {queueUrl: 'https://sqs.eu-central-1.amazonaws.com/111122223333/fleet'}}": "nothing listens",
		"pull: {credentialsSecret: aws}":                                                                            "needs pull.queueUrl",
		"pull: {queueUrl: 'https://example.com/queue'}":                                                             "/pull/queueUrl",
		"{networkPolicy: {enabled: true}, proxy: 'http://proxy.example:3128'}":                                      "say so in networkPolicy.egress",
		"{networkPolicy: {enabled: true}, retry: {sink: 'http://sink'}}":                                            "say so in networkPolicy.egress",
		"knative: {public: true}":                                                                                   "need knative.enabled",
		"ingress: {enabled: true, hosts: []}":                                                                       "needs ingress.hosts",
		"{knative: {enabled: true, minScale: 1}}":                                                                   "/knative/minScale",
	} {
		answer, err := run(values, helm(t), "template", "fleet-webhook", chart, "--values=-")
		if err == nil || !strings.Contains(answer, words) {
			t.Errorf("%s: %v, and no %q in\n%s", values, err, words, answer)
		}
	}
}

func TestWhatAClusterIsTooOldForIsRefused(t *testing.T) {
	for version, refused := range map[string]bool{"v1.29.15": true, "v1.30.0": false, "v1.30.4+rke2r1": false, "v1.36.3": false} {
		answer, err := run("", helm(t), "template", "fleet-webhook", chart, "--set", "admissionPolicy.enabled=true", "--kube-version", version)
		if refused != (err != nil) || refused && !strings.Contains(answer, "admissionPolicy needs Kubernetes 1.30") {
			t.Errorf("%s: %v %s", version, err, answer)
		}
	}
}

func TestTheChartIsClean(t *testing.T) {
	for name, helm := range helms(t) {
		if answer, err := run("", helm, "lint", "--strict", chart); err != nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
}

// comparable drops what Helm adds to every object, and what is only another
// way to say the same.
func comparable(t *testing.T, object object) any {
	t.Helper()
	var whole any
	if err := yaml.Unmarshal(object.text, &whole); err != nil {
		t.Fatal(err)
	}
	return lean(whole)
}

func lean(node any) any {
	switch node := node.(type) {
	case map[string]any:
		if reference, found := node["secretRef"].(map[string]any); found {
			delete(reference, "optional") // the chart has no such reference where no secret is named
		}
		for _, added := range []string{
			"helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version",
		} {
			delete(node, added)
		}
		if node["imagePullPolicy"] == "IfNotPresent" { // of any tag but `latest`
			delete(node, "imagePullPolicy")
		}
		for key := range node {
			node[key] = lean(node[key])
		}
	case []any:
		var kept []any
		for _, item := range node {
			variable, _ := item.(map[string]any)
			if variable["name"] != "UNSIGNED_DELIVERIES" || variable["value"] != "accept" { // the program's default
				kept = append(kept, lean(item))
			}
		}
		slices.SortStableFunc(kept, func(a, b any) int { return strings.Compare(variableName(a), variableName(b)) })
		return kept
	}
	return node
}

// variableName is the name of a variable, and nothing of anything else in a list.
func variableName(node any) string {
	variable, _ := node.(map[string]any)
	name, _ := variable["name"].(string)
	if len(variable) != 2 || variable["value"] == nil {
		return ""
	}
	return name
}

func template(t *testing.T, values string) []object {
	t.Helper()
	return templated(t, "fleet-webhook", rancher, values, "--no-hooks")
}

func templated(t *testing.T, release, namespace, values string, more ...string) []object {
	t.Helper()
	command := []string{helm(t), "template", release, chart, "--namespace", namespace, "--values=-"}
	rendered, err := run(values, append(command, more...)...)
	if err != nil {
		t.Fatalf("%s: %s", values, rendered)
	}
	return split(t, []byte(rendered))
}

// helm is the path of Helm's own program, version 4, which Go builds once and keeps.
func helm(t *testing.T) string {
	t.Helper()
	return built(t, helm4)
}

// helms are both that are in use; Fleet has Helm 3 within.
func helms(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"Helm 3": built(t, helm3), "Helm 4": built(t, helm4)}
}

func built(t *testing.T, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(path)
	}
	return path
}

var (
	helm3 = tool("helm.sh/helm/v3/cmd/helm")
	helm4 = tool("helm.sh/helm/v4/cmd/helm")
)

func tool(path string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		program, err := run("", "go", "tool", "-n", path)
		return strings.TrimSpace(program), err
	})
}

// run answers with what the command said, to both of its outputs.
func run(input string, command ...string) (string, error) {
	running := exec.Command(command[0], command[1:]...)
	running.Stdin = strings.NewReader(input)
	var out, errors bytes.Buffer
	running.Stdout, running.Stderr = &out, &errors
	err := running.Run()
	if err != nil {
		return out.String() + errors.String(), err
	}
	return out.String(), nil
}
