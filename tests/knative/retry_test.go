package knative

import (
	"strings"
	"testing"
)

// Knative Eventing's own validation would be one more module for two objects.
func TestDeliveriesThatWaitComeBackToTheService(t *testing.T) {
	objects := render(t, "testdata/retry")
	trigger := find(t, objects, "eventing.knative.dev/v1", "Trigger")
	binding := find(t, objects, "sources.knative.dev/v1", "SinkBinding")
	for _, object := range []object{trigger, binding} {
		if object.Metadata.Namespace != "cattle-fleet-system" {
			t.Errorf("%s is in %q", object.Kind, object.Metadata.Namespace)
		}
		if !strings.Contains(string(object.text), "kind: Service\n      name: fleet-webhook") &&
			!strings.Contains(string(object.text), "kind: Service\n    name: fleet-webhook") {
			t.Errorf("%s does not name the service:\n%s", object.Kind, object.text)
		}
	}
	if !strings.Contains(string(trigger.text), "type: dev.fleet-webhook.delivery") {
		t.Error("the trigger is for other events")
	}
}
