package knative

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	eventing "knative.dev/eventing/pkg/apis/eventing/v1"
	sources "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/kncloudevents"
)

func TestDeliveriesThatWaitComeBackToTheService(t *testing.T) {
	objects := render(t, "testdata/retry")
	var trigger eventing.Trigger
	var binding sources.SinkBinding
	decode(t, find(t, objects, "eventing.knative.dev/v1", "Trigger"), &trigger)
	decode(t, find(t, objects, "sources.knative.dev/v1", "SinkBinding"), &binding)
	broker := find(t, objects, "eventing.knative.dev/v1", "Broker").Metadata.Name
	if sink := binding.Spec.Sink.Ref; trigger.Spec.Broker != broker || sink.Kind != "Broker" || sink.Name != broker {
		t.Errorf("another Broker than %s: %v, %v", broker, trigger.Spec.Broker, sink)
	}
	to, from := trigger.Spec.Subscriber.Ref, binding.Spec.Subject
	if to.Kind != "Service" || to.Name != "fleet-webhook" || from.Kind != "Service" || from.Name != "fleet-webhook" {
		t.Errorf("another service: %v, %v", to, from)
	}
}

// The waits are Knative's own: none before the first time, and then each one delay longer than the one before.
func TestDeliveriesComeBackForAsLongAsIsSaid(t *testing.T) {
	for name, objects := range map[string][]object{
		"kustomize": render(t, "testdata/retry"),
		"chart":     template(t, "{knative: {enabled: true}, retry: {broker: {enabled: true}}}"),
	} {
		var trigger eventing.Trigger
		decode(t, find(t, objects, "eventing.knative.dev/v1", "Trigger"), &trigger)
		retries, err := kncloudevents.RetryConfigFromDeliverySpec(*trigger.Spec.Delivery)
		if err != nil {
			t.Fatal(err)
		}
		waits, whole := []string{}, time.Duration(0)
		for number := range retries.RetryMax {
			wait := retries.Backoff(number, nil)
			waits, whole = append(waits, fmt.Sprintf("%.0f s", wait.Seconds())), whole+wait
		}
		if got := strings.Join(waits[:4], ", "); got != "0 s, 5 s, 10 s, 15 s" {
			t.Errorf("%s: it waits %s", name, got)
		}
		for file, said := range map[string]string{
			"../../docs/retry-queue.md":                  "at once, then after 5 s, 10 s, 15 s and so on: %d times in %.1f minutes",
			manifests + "/components/retry/trigger.yaml": "at once, then after 5 s, 10 s, 15 s and so on; %d times are %.1f minutes",
			manifests + "/chart/templates/retry.yaml":    "at once, then after 5 s, 10 s, 15 s and so on; %d times are %.1f minutes",
		} {
			text, err := os.ReadFile(file)
			if said := fmt.Sprintf(said, retries.RetryMax, whole.Minutes()); err != nil || !strings.Contains(string(text), said) {
				t.Errorf("%s: %v: %s says something else than %q", name, err, file, said)
			}
		}
	}
}
