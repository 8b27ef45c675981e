package knative

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// GitRepos as far as the API server has to know them here: anything, and a status of its own.
const gitRepos = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gitrepos.fleet.cattle.io}
spec:
  group: fleet.cattle.io
  scope: Namespaced
  names: {kind: GitRepo, plural: gitrepos, singular: gitrepo}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// The kinds of others that Helm has to find.
var foreign = map[string]string{
	"podmonitors.monitoring.coreos.com":     "PodMonitor v1",
	"servicemonitors.monitoring.coreos.com": "ServiceMonitor v1",
	"prometheusrules.monitoring.coreos.com": "PrometheusRule v1",
}

// server is a real API server, of tests/cluster: the program that CLUSTER names.
type server struct {
	program, kubeconfig string
}

// serve starts one for this test. Without CLUSTER there is none.
func serve(t *testing.T) server {
	t.Helper()
	program := os.Getenv("CLUSTER")
	if program == "" {
		t.Skip("CLUSTER names no program of tests/cluster")
	}
	// A test's own folder has the test's name in its path, and that of etcd's socket may have 107 bytes.
	folder, err := os.MkdirTemp("", "cluster-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	serving := exec.Command(program, "serve", "--dir", folder, "--stop-on-stdin-eof")
	input, err := serving.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := serving.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serving.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		serving.Wait()
	})
	// It prints the kubeconfig's path when it is ready.
	if _, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		log, _ := os.ReadFile(filepath.Join(folder, "cluster.log"))
		t.Fatalf("%v: %s", err, log)
	}
	cluster := server{program, filepath.Join(folder, "kubeconfig")}
	definitions := gitRepos
	if file := os.Getenv("FLEET_WEBHOOK_CRD"); file != "" { // Fleet's own, as the other tests take it
		own, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		definitions = string(own)
	}
	for name, kind := range foreign {
		kind, version, _ := strings.Cut(kind, " ")
		plural, group, _ := strings.Cut(name, ".")
		definitions += fmt.Sprintf(`---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s}
spec:
  group: %s
  scope: Namespaced
  names: {kind: %s, plural: %s, singular: %s}
  versions:
    - name: %s
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, name, group, kind, plural, strings.ToLower(kind), version)
	}
	cluster.kubectl(t, definitions, "apply", "-f", "-")
	cluster.kubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	for _, namespace := range []string{rancher, "fleet-default", "fleet-local"} {
		cluster.kubectl(t, "", "create", "namespace", namespace)
	}
	return cluster
}

// kubectl does something that has to succeed, and answers with what it said.
func (s server) kubectl(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	answer, err := s.tried(input, arguments...)
	if err != nil {
		t.Fatalf("kubectl %v: %s", arguments, answer)
	}
	return answer
}

func (s server) tried(input string, arguments ...string) (string, error) {
	return run(input, append([]string{s.program, "kubectl", "--kubeconfig", s.kubeconfig}, arguments...)...)
}

func (s server) helm(t *testing.T, values string, arguments ...string) string {
	t.Helper()
	return s.helmBy(t, helm(t), values, arguments...)
}

func (s server) helmBy(t *testing.T, helm, values string, arguments ...string) string {
	t.Helper()
	command := append([]string{helm, "--kubeconfig", s.kubeconfig, "--namespace", rancher}, arguments...)
	answer, err := run(values, command...)
	if err != nil {
		t.Fatalf("helm %v: %s", arguments, answer)
	}
	return answer
}

// installed lists what there is of the release, in all namespaces.
func (s server) installed(t *testing.T) string {
	t.Helper()
	const kinds = "serviceaccounts,services,deployments,ingresses,poddisruptionbudgets,networkpolicies,roles,rolebindings," +
		"clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings," +
		"podmonitors,servicemonitors,prometheusrules,pods,jobs"
	return s.kubectl(t, "", "get", kinds, "--all-namespaces", "--output=name",
		"--selector=app.kubernetes.io/instance=fleet-webhook")
}

func TestAReleaseIsInstalledUpgradedRolledBackAndUninstalled(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	for name, helm := range helms(t) {
		t.Run(name, func(t *testing.T) { installUpgradeRollBackAndUninstall(t, cluster, helm) })
	}
}

func installUpgradeRollBackAndUninstall(t *testing.T, cluster server, helm string) {
	t.Helper()
	notes := cluster.helmBy(t, helm, "", "install", "fleet-webhook", chart)
	for _, words := range []string{
		"http://fleet-webhook.cattle-fleet-system.svc/",
		"create secret generic gitjob-webhook",
		"helm test fleet-webhook --namespace cattle-fleet-system",
	} {
		if !strings.Contains(notes, words) {
			t.Errorf("no %q in\n%s", words, notes)
		}
	}
	first := cluster.installed(t)
	if strings.Count(first, "\n") != 8 || !strings.Contains(first, "deployment.apps/fleet-webhook\n") {
		t.Errorf("installed are\n%s", first)
	}
	account := "system:serviceaccount:cattle-fleet-system:fleet-webhook"
	may := func(verb, what, namespace string) bool {
		arguments := []string{"auth", "can-i", verb, what, "--namespace", namespace, "--as", account}
		if what, found := strings.CutSuffix(what, "/status"); found { // else it would be an object's name
			arguments = append(arguments, "--subresource=status")
			arguments[3] = what
		}
		answer, _ := cluster.tried("", arguments...)
		return strings.TrimSpace(answer) == "yes"
	}
	eventually(t, "least rights", func() bool {
		return may("patch", "gitrepos.fleet.cattle.io", "fleet-default") && !may("get", "secret/any", "fleet-default")
	})

	cluster.kubectl(t, "", "create", "secret", "generic", "gitjob-webhook", "--namespace="+rancher, "--from-literal=github=x")
	notes = cluster.helmBy(t, helm, `
pollingInterval: keep
gitrepoNamespaces: [fleet-default]
gitrepoSecrets: {namespaces: [fleet-default]}
ingress: {enabled: true, className: nginx, hosts: [hooks.acme.example], tls: [{hosts: [hooks.acme.example], secretName: tls}]}
networkPolicy: {enabled: true}
admissionPolicy: {enabled: true}
metrics: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}
`, "upgrade", "fleet-webhook", chart, "--values=-")
	for _, words := range []string{"https://hooks.acme.example/", "The webhook secret gitjob-webhook is there"} {
		if !strings.Contains(notes, words) {
			t.Errorf("no %q in\n%s", words, notes)
		}
	}
	// The API server learns of rights some moments later.
	eventually(t, "least rights after the upgrade", func() bool {
		return !may("patch", "gitrepos.fleet.cattle.io", "fleet-default") && !may("list", "gitrepos.fleet.cattle.io", "fleet-local") &&
			may("patch", "gitrepos.fleet.cattle.io/status", "fleet-default") && may("get", "secret/any", "fleet-default")
	})
	if second := cluster.installed(t); strings.Count(second, "\n") != 18 {
		t.Errorf("after the upgrade there are\n%s", second)
	}

	cluster.helmBy(t, helm, "", "rollback", "fleet-webhook")
	if third := cluster.installed(t); third != first {
		t.Errorf("rolled back to\n%s", third)
	}
	// What its hook does, restore_polling_test.go shows.
	cluster.helmBy(t, helm, "", "uninstall", "fleet-webhook", "--no-hooks")
	if left := cluster.installed(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	cluster.kubectl(t, "", "delete", "secret", "gitjob-webhook", "--namespace="+rancher) // it is there still: it is Fleet's own, too
}

// Each field is one that Kubernetes has, and Pod Security's strictest level takes the pods. Knative's objects are held
// against its own rules.
func TestAStrictServerTakesTheChartInARestrictedNamespace(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	for _, mode := range []string{"enforce", "warn"} {
		cluster.kubectl(t, "", "label", "namespace", rancher, "pod-security.kubernetes.io/"+mode+"=restricted")
	}
	for _, values := range []string{"", `
gitrepoNamespaces: [fleet-default]
gitrepoSecrets: {namespaces: [fleet-default]}
events: {enabled: true}
ingress: {enabled: true, className: nginx, hosts: [a.example], tls: [{hosts: [a.example], secretName: a-tls}]}
service: {type: LoadBalancer, annotations: {a: b}}
metrics: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}
admissionPolicy: {enabled: true}
networkPolicy: {enabled: true, egress: [{ports: [{port: 3128}]}]}
proxy: http://proxy.example:3128
nodeSelector: {disk: ssd}
tolerations: [{key: node, operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: system-cluster-critical
imagePullSecrets: [{name: registry}]
extraLabels: {team: platform}
extraAnnotations: {team: platform}
extraEnv: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]`} {
		rendered, err := run(values, helm(t), "template", "fleet-webhook", chart, "--namespace", rancher, "--values=-")
		if err != nil {
			t.Fatal(rendered)
		}
		if answer, err := cluster.tried(rendered, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"); err != nil {
			t.Errorf("%s: %s", values, answer)
		}
	}
}

// As the ServiceAccount, whom RBAC lets patch all of a GitRepo's spec.
func TestTheAdmissionPolicyLeavesTheThreeFieldsThatAreOurs(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	cluster.helm(t, "admissionPolicy: {enabled: true}", "install", "fleet-webhook", chart, "--values=-")
	cluster.kubectl(t, `
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: shop, namespace: fleet-default, labels: {team: shop}}
spec: {repo: "https://git.example.com/shop", branch: main, paths: [a, b], targets: [{name: all, clusterSelector: {}}]}
`, "apply", "-f", "-")
	// kubectl reads what it patches.
	cluster.kubectl(t, "", "create", "clusterrole", "read", "--verb=get",
		"--resource=gitrepos.fleet.cattle.io,gitrepos.fleet.cattle.io/status")
	cluster.kubectl(t, "", "create", "clusterrolebinding", "read", "--clusterrole=read",
		"--serviceaccount=cattle-fleet-system:fleet-webhook")
	as := "--as=system:serviceaccount:cattle-fleet-system:fleet-webhook"
	patch := func(patch string, more ...string) (string, error) {
		return cluster.tried("", append([]string{"patch", "gitrepo", "shop", "--namespace=fleet-default", "--type=json",
			"--patch=" + patch}, more...)...)
	}
	const refusal = "fleet-webhook may change"
	// The policy counts some moments after it is there.
	const forbidden = `[{"op": "replace", "path": "/spec/repo", "value": "https://evil.example/shop"}]`
	eventually(t, "the policy counts", func() bool {
		answer, err := patch(forbidden, as, "--dry-run=server")
		return err != nil && strings.Contains(answer, refusal)
	})
	for _, allowed := range [][]string{
		{`[{"op": "add", "path": "/spec/pollingInterval", "value": "1h"}]`},
		{`[{"op": "add", "path": "/status", "value": {"webhookCommit": "a", "lastWebhookTime": "2026-01-01T00:00:00Z"}}]`, "--subresource=status"},
		{`[{"op": "replace", "path": "/status/webhookCommit", "value": "b"}]`, "--subresource=status"},
		{`[{"op": "remove", "path": "/spec/pollingInterval"}]`},
	} {
		if answer, err := patch(allowed[0], append(allowed[1:], as)...); err != nil {
			t.Errorf("%s: %s", allowed, answer)
		}
	}
	for _, refused := range [][]string{
		{forbidden},
		{`[{"op": "replace", "path": "/spec/paths/1", "value": "c"}]`},
		{`[{"op": "remove", "path": "/spec/branch"}]`},
		{`[{"op": "add", "path": "/spec/targetNamespace", "value": "kube-system"}]`},
		{`[{"op": "add", "path": "/spec/serviceAccount", "value": "admin"}, {"op": "add", "path": "/spec/pollingInterval", "value": "1h"}]`},
		{`[{"op": "replace", "path": "/metadata/labels/team", "value": "other"}]`},
		{`[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]`},
		{`[{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/stuck"]}]`},
		{`[{"op": "add", "path": "/status/commit", "value": "c"}]`, "--subresource=status"},
		{`[{"op": "remove", "path": "/status"}, {"op": "add", "path": "/status", "value": {"display": {}}}]`, "--subresource=status"},
	} {
		if answer, err := patch(refused[0], append(refused[1:], as)...); err == nil || !strings.Contains(answer, refusal) {
			t.Errorf("%s: %v: %s", refused, err, answer)
		}
		// Nobody else is judged by it.
		if answer, err := patch(refused[0], append(refused[1:], "--dry-run=server")...); err != nil {
			t.Errorf("%s, as admin: %s", refused, answer)
		}
	}
}

// needs is for a program that tests/tools/install installs: tests/run, which sets CLUSTER, leaves no test out.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CLUSTER") != "" {
		t.Fatalf("no %s on the PATH", program)
	}
	t.Skipf("no %s on the PATH", program)
}

// eventually waits up to a minute for what a busy machine does late.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 120 {
		if holds() {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Fatalf("%s: not within a minute", what)
}
