package knative

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The names that Fleet's own chart has, and those that its users know from others.
func TestEachValueThatFleetsUsersKnowHasItsEffect(t *testing.T) {
	for values, text := range map[string]string{
		"ingress: {enabled: true, className: nginx}":                                                              "  ingressClassName: nginx\n",
		"ingress: {enabled: true, annotations: {cert-manager.io/cluster-issuer: acme}}":                           "    cert-manager.io/cluster-issuer: acme\n",
		"ingress: {enabled: true, tls: [{hosts: [a.example], secretName: a-tls}]}":                                "      secretName: a-tls\n",
		"ingress: {enabled: true, hosts: [a.example]}":                                                            "    - host: a.example\n",
		"service: {type: LoadBalancer, annotations: {a: b}}":                                                      "  type: LoadBalancer\n",
		"proxy: http://proxy.example:3128":                                                                        "          value: \"http://proxy.example:3128\"\n",
		"{proxy: 'http://proxy.example:3128', noProxy: '.svc'}":                                                   "          value: \".svc\"\n",
		"{proxy: 'http://proxy.example:3128', networkPolicy: {enabled: true, egress: [{ports: [{port: 3128}]}]}}": "knative-eventing\n    - ports:\n      - port: 3128\n",
		"nodeSelector: {disk: ssd}":                                                                               "      nodeSelector:\n        kubernetes.io/os: linux\n        disk: ssd\n",
		"tolerations: [{key: node, operator: Exists}]":                                                            "          effect: NoSchedule\n        - key: node\n",
		"priorityClassName: system-cluster-critical":                                                              "      priorityClassName: system-cluster-critical\n",
		"global: {cattle: {systemDefaultRegistry: registry.acme.example}}":                                        "          image: registry.acme.example/fleet-webhook.example/fleet-webhook:",
		"metrics: {serviceMonitor: {enabled: true, labels: {release: rancher-monitoring}}}":                       "kind: ServiceMonitor\n",
		"imagePullSecrets: [{name: registry}]":                                                                    "      imagePullSecrets:\n        - name: registry\n",
		"serviceAccount: {annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1:role/a'}}":                    "    eks.amazonaws.com/role-arn: arn:aws:iam::1:role/a\n",
	} {
		rendered, err := run(values, helm(t), "template", "fleet-webhook", chart, "--namespace", rancher, "--values=-")
		if err != nil || !strings.Contains(rendered, text) {
			t.Errorf("%s: %v, and no %q in\n%s", values, err, text, rendered)
		}
	}
}

// Windows would not run it, and in a cluster that has such nodes Rancher taints the others.
func TestEveryPodOfTheChartLooksForLinuxAsFleetsDo(t *testing.T) {
	for _, object := range templated(t, "fleet-webhook", rancher, "{restorePolling: {enabled: true}}") {
		if !strings.Contains(string(object.text), "containers:") {
			continue
		}
		for _, text := range []string{"nodeSelector:\n", "kubernetes.io/os: linux\n", "key: cattle.io/os\n"} {
			if !strings.Contains(string(object.text), text) {
				t.Errorf("%s: no %q in\n%s", object.id(), text, object.text)
			}
		}
	}
}

// What is misspelt would do nothing. Rancher and Fleet write values of their own into `global`.
func TestTheSchemaKnowsEveryValueAndNoOther(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	var closed func(path string, node map[string]any)
	closed = func(path string, node map[string]any) {
		properties, _ := node["properties"].(map[string]any)
		if properties != nil && node["additionalProperties"] != false && !strings.HasPrefix(path, ".global") {
			t.Errorf("%s takes anything", path)
		}
		for name, property := range properties {
			closed(path+"."+name, property.(map[string]any))
		}
	}
	closed("", root)
}
