package knative

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const restoring = "fleet-webhook-restore-polling"

// What a node would do with the Job of the uninstall is done here: its container's command is run as its account,
// and its end is written into its status. docs/in-the-cluster.md has the command.
func TestUninstallingTakesBackThePollingIntervalsOfTheService(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	program := program(t)
	values := map[string]string{"Helm 3": "{}", "Helm 4": "gitrepoNamespaces: [fleet-default, fleet-local]"}
	for name, helm := range helms(t) {
		t.Run(name, func(t *testing.T) {
			cluster.gitRepos(t)
			cluster.helmBy(t, helm, values[name], "install", "fleet-webhook", chart, "--values=-")

			uninstalled := cluster.uninstalling(helm)
			job := cluster.job(t)
			if left := cluster.installed(t); strings.Contains(left, "deployment") || strings.Count(left, restoring) != strings.Count(left, "\n") {
				t.Errorf("the service could set the intervals again: there are\n%s", left)
			}
			container := job.Spec.Template.Spec.Containers[0]
			said, err := cluster.runAs(t, job.Spec.Template.Spec.ServiceAccountName, program, container.Args, container.Env)
			if err != nil || !strings.Contains(said, "fleet-default/shop  1h      taken back\n") {
				t.Errorf("%v: %s", err, said)
			}
			cluster.ends(t, "SuccessCriteriaMet", "Complete")

			if answer, err := uninstalled(); err != nil {
				t.Errorf("%v: %s", err, answer)
			}
			if left := cluster.installed(t); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
			if intervals := cluster.intervals(t); intervals != "blog:1h shop:" {
				t.Errorf("the intervals are %s", intervals)
			}
		})
	}
}

func TestATakingBackThatFailsKeepsNothingInstalled(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	cluster.kubectl(t, "", "create", "clusterrole", "deleter", "--verb=get,list,watch,update,patch,delete", "--resource=*.*")
	cluster.kubectl(t, "", "create", "clusterrolebinding", "deleter", "--clusterrole=deleter", "--user=deleter")
	for name, helm := range helms(t) {
		t.Run(name, func(t *testing.T) {
			cluster.helmBy(t, helm, "", "install", "fleet-webhook", chart)
			uninstalled := cluster.uninstalling(helm)
			cluster.job(t)
			cluster.ends(t, "FailureTarget", "Failed")
			if answer, err := uninstalled(); err == nil {
				t.Errorf("nobody hears of it: %s", answer)
			}
			if left := cluster.installed(t) + cluster.releases(t); left != "" {
				t.Errorf("left behind:\n%s", left)
			}

			// And so for whoever may delete the release and may not create the Job.
			cluster.helmBy(t, helm, "", "install", "fleet-webhook", chart)
			answer, err := run("", helm, "--kubeconfig", cluster.kubeconfig, "--kube-as-user", "deleter", "uninstall", "fleet-webhook", "--namespace", rancher)
			if err == nil || !strings.Contains(answer, "cannot create resource") {
				t.Errorf("nobody hears of it: %v: %s", err, answer)
			}
			if left := cluster.installed(t) + cluster.releases(t); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

func TestNothingIsTakenBackThatIsNotSetOrIsNotToBe(t *testing.T) {
	for _, values := range []string{"pollingInterval: keep", "restorePolling: {enabled: false}"} {
		rendered, err := run(values, helm(t), "template", "fleet-webhook", chart, "--values=-")
		if err != nil || strings.Contains(rendered, "restore-polling") {
			t.Errorf("%s: %v\n%s", values, err, rendered)
		}
	}
}

// gitRepos are one whose interval the service set, and one that had the same.
func (s server) gitRepos(t *testing.T) {
	t.Helper()
	s.kubectl(t, `
apiVersion: v1
kind: List
items:
- apiVersion: fleet.cattle.io/v1alpha1
  kind: GitRepo
  metadata: {name: shop, namespace: fleet-default}
  spec: {repo: "https://git.example.com/shop"}
- apiVersion: fleet.cattle.io/v1alpha1
  kind: GitRepo
  metadata: {name: blog, namespace: fleet-default}
  spec: {repo: "https://git.example.com/blog", pollingInterval: 1h}
`, "apply", "-f", "-")
	s.kubectl(t, "", "patch", "gitrepo", "shop", "--namespace=fleet-default", "--type=json", "--field-manager=fleet-webhook",
		`--patch=[{"op": "add", "path": "/spec/pollingInterval", "value": "1h"}]`)
}

func (s server) intervals(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(s.kubectl(t, "", "get", "gitrepos", "--namespace=fleet-default",
		"--output=jsonpath={range .items[*]}{.metadata.name}:{.spec.pollingInterval} {end}"))
}

// releases lists what Helm knows of.
func (s server) releases(t *testing.T) string {
	t.Helper()
	return s.kubectl(t, "", "get", "secrets", "--namespace="+rancher, "--selector=owner=helm", "--output=name")
}

// uninstalling begins the uninstall; what it returns waits for its end.
func (s server) uninstalling(helm string) func() (string, error) {
	type answer struct {
		said string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		said, err := run("", helm, "--kubeconfig", s.kubeconfig, "uninstall", "fleet-webhook", "--namespace", rancher)
		done <- answer{said, err}
	}()
	return func() (string, error) {
		answer := <-done
		return answer.said, answer.err
	}
}

type job struct {
	Spec struct {
		Template struct {
			Spec struct {
				ServiceAccountName string
				Containers         []struct {
					Args []string
					Env  []struct{ Name, Value string }
				}
			}
		}
	}
}

func (s server) job(t *testing.T) (job job) {
	t.Helper()
	eventually(t, "the Job", func() bool {
		text, err := s.tried("", "get", "job", restoring, "--namespace="+rancher, "--output=json")
		return err == nil && json.Unmarshal([]byte(text), &job) == nil
	})
	return job
}

// ends writes the end of the Job as the Job controller does.
func (s server) ends(t *testing.T, conditions ...string) {
	t.Helper()
	const now = "2026-01-01T00:00:00Z"
	var all []map[string]string
	status := map[string]any{"startTime": now}
	for _, condition := range conditions {
		all = append(all, map[string]string{
			"type": condition, "status": "True", "lastTransitionTime": now, "lastProbeTime": now,
		})
		status["conditions"] = all
		if condition == "Complete" {
			status["completionTime"] = now
			status["succeeded"] = 1
		}
		patch, _ := json.Marshal(map[string]any{"status": status})
		s.kubectl(t, "", "patch", "job", restoring, "--namespace="+rancher, "--subresource=status", "--type=merge", "--patch="+string(patch))
	}
}

// runAs runs the program with the rights of an account.
func (s server) runAs(t *testing.T, account, program string, arguments []string, variables []struct{ Name, Value string }) (string, error) {
	t.Helper()
	token := strings.TrimSpace(s.kubectl(t, "", "create", "token", account, "--namespace="+rancher))
	var config map[string]any
	if err := yaml.Unmarshal([]byte(s.kubectl(t, "", "config", "view", "--raw")), &config); err != nil {
		t.Fatal(err)
	}
	config["users"].([]any)[0].(map[string]any)["user"] = map[string]string{"token": token}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the account's rights", func() bool {
		answer, _ := s.tried("", "auth", "can-i", "patch", "gitrepos.fleet.cattle.io", "--namespace=fleet-default",
			"--as=system:serviceaccount:"+rancher+":"+account)
		return strings.TrimSpace(answer) == "yes"
	})
	running := exec.Command(program, arguments...)
	running.Env = []string{"KUBECONFIG=" + file}
	for _, variable := range variables {
		running.Env = append(running.Env, variable.Name+"="+variable.Value)
	}
	said, err := running.CombinedOutput()
	return string(said), err
}

// program is fleet-webhook, as cargo has built it: FLEET_WEBHOOK_PROGRAM, which tests/run sets.
func program(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("FLEET_WEBHOOK_PROGRAM"); program != "" {
		return program
	}
	t.Fatal("FLEET_WEBHOOK_PROGRAM names no program: target/debug/fleet-webhook, by its full path")
	return ""
}
