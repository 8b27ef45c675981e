package knative

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What queue-proxy declares, Knative's own container in each pod.
var queueProxyPorts = []int{8012, 8022, 8112, 9090, 9091}

// The pods as Prometheus discovers them, a target for each declared port, and
// what the PodMonitor makes of that.
func TestPrometheusFindsOneTargetForEachPod(t *testing.T) {
	monitor := find(t, render(t, "testdata/podmonitor"), "monitoring.coreos.com/v1", "PodMonitor")
	var read struct {
		Spec struct {
			Selector            struct{ MatchLabels map[string]string }
			PodMetricsEndpoints []struct{ Relabelings []relabeling }
		}
	}
	if err := yaml.Unmarshal(monitor.text, &read); err != nil || len(read.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("%v in %s", err, monitor.text)
	}
	for _, pods := range []struct {
		in, apiVersion, kind string
		others               []int
	}{
		{"testdata/podmonitor", "serving.knative.dev/v1", "Service", queueProxyPorts},
		{manifests + "/kubernetes", "apps/v1", "Deployment", nil},
	} {
		var runs struct {
			Spec struct {
				Template struct {
					Metadata struct{ Labels map[string]string }
					Spec     struct {
						Containers []struct {
							Name  string
							Ports []struct{ ContainerPort int }
						}
					}
				}
			}
		}
		object := find(t, render(t, pods.in), pods.apiVersion, pods.kind)
		if err := yaml.Unmarshal(object.text, &runs); err != nil {
			t.Fatal(err)
		}
		template := runs.Spec.Template
		for name, value := range read.Spec.Selector.MatchLabels {
			if template.Metadata.Labels[name] != value {
				t.Errorf("%s: pods of the %s are not selected: %v", pods.in, pods.kind, template.Metadata.Labels)
			}
		}
		for _, ip := range []string{"10.0.0.1", "fd00::1"} {
			var targets []string
			discover := func(container string, port int) {
				target := map[string]string{
					"__address__":                                 net.JoinHostPort(ip, fmt.Sprint(port)),
					"__meta_kubernetes_pod_container_name":        container,
					"__meta_kubernetes_pod_container_port_number": fmt.Sprint(port),
				}
				for _, rule := range read.Spec.PodMetricsEndpoints[0].Relabelings {
					if !rule.apply(target) {
						return
					}
				}
				targets = append(targets, target["__address__"])
			}
			for _, container := range template.Spec.Containers {
				for _, port := range container.Ports {
					discover(container.Name, port.ContainerPort)
				}
			}
			for _, port := range pods.others {
				discover("queue-proxy", port)
			}
			if want := net.JoinHostPort(ip, "9464"); !slices.Equal(targets, []string{want}) {
				t.Errorf("the %s in %s has the targets %v and not %s", pods.kind, pods.in, targets, want)
			}
		}
	}
}

// As in https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
type relabeling struct {
	Action, Regex, TargetLabel, Replacement string
	SourceLabels                            []string
}

// apply says whether the target is kept.
func (r relabeling) apply(labels map[string]string) bool {
	var values []string
	for _, name := range r.SourceLabels {
		values = append(values, labels[name])
	}
	value := strings.Join(values, ";")
	pattern := regexp.MustCompile("^(?:" + r.Regex + ")$")
	if r.Action == "keep" {
		return pattern.MatchString(value)
	}
	if pattern.MatchString(value) {
		labels[r.TargetLabel] = pattern.ReplaceAllString(value, r.Replacement)
	}
	return true
}
