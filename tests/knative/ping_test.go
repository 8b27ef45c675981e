package knative

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// `helm test`: the service's own image, so that a mirror has all that is needed; tests/suite/ping.rs shows what it sends.
func TestHelmTestPingsTheServiceWithTheKeyOfTheWebhookSecret(t *testing.T) {
	for values, url := range map[string]string{
		"": "http://fleet-webhook.cattle-fleet-system.svc/",
		"{service: {port: 8080}, webhookSecretName: hooks}": "http://fleet-webhook.cattle-fleet-system.svc:8080/",
		"{service: {port: 8080}, knative: {enabled: true}}": "http://fleet-webhook.cattle-fleet-system.svc/",
	} {
		rendered, err := run(values, helm(t), "template", "fleet-webhook", chart, "--namespace", rancher, "--values=-",
			"--set=global.cattle.systemDefaultRegistry=registry.acme.example", "--show-only=templates/tests/ping.yaml")
		if err != nil {
			t.Fatal(rendered)
		}
		var pod struct {
			Spec struct {
				AutomountServiceAccountToken *bool
				Containers                   []struct {
					Image string
					Args  []string
				}
				Volumes []struct {
					Secret struct {
						SecretName string
						Optional   bool
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(rendered), &pod); err != nil {
			t.Fatal(err)
		}
		container, secret := pod.Spec.Containers[0], pod.Spec.Volumes[0].Secret
		if arguments := strings.Join(container.Args, " "); arguments != "ping --secret-file /secret/github "+url {
			t.Errorf("%s: %s", values, arguments)
		}
		if !strings.HasPrefix(container.Image, "registry.acme.example/fleet-webhook.example/fleet-webhook:") {
			t.Errorf("the image is %s", container.Image)
		}
		name := "gitjob-webhook"
		if strings.Contains(values, "hooks") {
			name = "hooks"
		}
		if secret.SecretName != name || !secret.Optional || *pod.Spec.AutomountServiceAccountToken {
			t.Errorf("%s: %s", values, rendered)
		}
	}
}

// Helm 3 reads the log of the pod after it has deleted what it may. There is no node: its end is written here.
func TestThePodOfHelmTestIsThereWhenItsLogIsRead(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	for name, helm := range helms(t) {
		cluster.helmBy(t, helm, "", "install", "fleet-webhook", chart)
		ended := make(chan error, 1)
		go func() {
			said, err := run("", helm, "--kubeconfig", cluster.kubeconfig, "--namespace", rancher, "test", "fleet-webhook")
			if err != nil {
				err = fmt.Errorf("%w: %s", err, said)
			}
			ended <- err
		}()
		eventually(t, "the pod", func() bool {
			_, err := cluster.tried("", "patch", "pod", "fleet-webhook-ping", "--namespace="+rancher, "--subresource=status",
				"--type=merge", `--patch={"status": {"phase": "Succeeded"}}`)
			return err == nil
		})
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cluster.kubectl(t, "", "delete", "pod", "fleet-webhook-ping", "--namespace="+rancher, "--grace-period=0", "--force")
		cluster.helmBy(t, helm, "", "uninstall", "fleet-webhook", "--no-hooks")
	}
}
