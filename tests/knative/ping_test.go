package knative

import (
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
