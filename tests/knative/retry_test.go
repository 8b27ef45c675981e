package knative

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// Knative Eventing's own validation cannot be had as a module.
func TestDeliveriesThatWaitComeBackToTheService(t *testing.T) {
	objects := render(t, "testdata/retry")
	trigger := find(t, objects, "eventing.knative.dev/v1", "Trigger")
	binding := find(t, objects, "sources.knative.dev/v1", "SinkBinding")
	broker := find(t, objects, "eventing.knative.dev/v1", "Broker")
	for _, object := range []object{trigger, binding} {
		if !strings.Contains(string(object.text), "kind: Service\n      name: fleet-webhook") &&
			!strings.Contains(string(object.text), "kind: Service\n    name: fleet-webhook") {
			t.Errorf("%s does not name the service:\n%s", object.Kind, object.text)
		}
		if !strings.Contains(string(object.text), broker.Metadata.Name) {
			t.Errorf("%s does not name the Broker", object.Kind)
		}
	}
	if !strings.Contains(string(trigger.text), "type: dev.fleet-webhook.delivery") {
		t.Error("the trigger is for other events")
	}
	// Without it an in-memory Broker takes an event only when the service takes it, which is never when it is needed.
	if !strings.Contains(string(broker.text), `messaging.knative.dev/async-handler: "true"`) {
		t.Errorf("this Broker queues nothing:\n%s", broker.text)
	}
}

// The dispatcher tries again at once, and then each time one delay later than the time before.
func TestDeliveriesComeBackForAsLongAsTheManifestSays(t *testing.T) {
	var trigger struct {
		Spec struct {
			Delivery struct {
				Retry          int
				BackoffPolicy  string
				BackoffDelay   string
				DeadLetterSink map[string]any
			}
		}
	}
	text := find(t, render(t, "testdata/retry"), "eventing.knative.dev/v1", "Trigger").text
	if err := yaml.Unmarshal(text, &trigger); err != nil {
		t.Fatal(err)
	}
	delivery := trigger.Spec.Delivery
	delay, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(delivery.BackoffDelay, "PT")))
	if err != nil || delivery.BackoffPolicy != "linear" || delivery.DeadLetterSink == nil {
		t.Fatalf("%v: %+v", err, delivery)
	}
	whole := time.Duration(0)
	for retry := range delivery.Retry {
		whole += time.Duration(retry) * delay
	}
	if minutes := whole.Minutes(); minutes < 58.5 || minutes > 58.7 {
		t.Errorf("%.1f minutes", minutes)
	}
}
