package knative

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	duck "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/feature"
	messaging "knative.dev/eventing/pkg/apis/messaging/v1"
)

// What the shipped Broker, Trigger and SinkBinding do where Knative's own code serves them, with the program, while its
// API server is away and when it is back.
func TestTheShippedBroker(t *testing.T) {
	t.Parallel()
	cluster := serve(t)
	for sentence, holds := range map[string]func(*testing.T, *outage){
		"keeps each push of an outage, and all are announced after it": keepsEachPushOfAnOutage,
		"keeps nothing without its annotation":                         keepsNothingWithoutItsAnnotation,
		"keeps nothing where senders need a token":                     keepsNothingWhereSendersNeedAToken,
		"may bring structured events":                                  mayBringStructuredEvents,
		"brings dead letters after all tries, and as often":            bringsDeadLettersAfterAllTriesAndAsOften,
		"is trusted with the authority that the SinkBinding injects":   isTrustedWithTheAuthorityThatTheSinkBindingInjects,
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			holds(t, outageOf(t, cluster))
		})
	}
}

func keepsEachPushOfAnOutage(t *testing.T, here *outage) {
	const repositories, pushes = 10, 3
	for number := range repositories {
		here.follows(t, repository(number))
	}
	here.begins(t)
	senders := sync.WaitGroup{}
	for number := range repositories {
		senders.Add(1)
		go func() {
			defer senders.Done()
			for push := range pushes { // one after the other, as they are made
				here.queues(t, repository(number), push+1)
			}
		}()
	}
	senders.Wait()
	here.ends()
	here.announces(t, repositories, commit(pushes))
}

// So that the test above does not pass with whatever Broker there is.
func keepsNothingWithoutItsAnnotation(t *testing.T, here *outage) {
	delete(here.broker.broker.Annotations, messaging.AsyncHandlerAnnotation)
	here.follows(t, repository(0))
	here.begins(t)
	if status, outcome := here.push(t, repository(0), 1); status != http.StatusServiceUnavailable || outcome != "unavailable" {
		t.Errorf("%d %s", status, outcome)
	}
}

// docs/retry-queue.md says so.
func keepsNothingWhereSendersNeedAToken(t *testing.T, here *outage) {
	here.broker.features = feature.Flags{feature.OIDCAuthentication: feature.Enabled}
	here.follows(t, repository(0))
	here.begins(t)
	if status, outcome := here.push(t, repository(0), 1); status != http.StatusServiceUnavailable || outcome != "unavailable" {
		t.Errorf("%d %s", status, outcome)
	}
	here.service.says(t, "the retry queue answered 401")
}

func mayBringStructuredEvents(t *testing.T, here *outage) {
	structured := duck.DeliveryFormatJson
	here.broker.trigger.Spec.Delivery.Format = &structured
	here.follows(t, repository(0))
	here.begins(t)
	here.queues(t, repository(0), 1)
	here.ends()
	here.announces(t, 1, commit(1))
	// One that is refused comes as a dead letter at once, and these are never structured.
	if came := here.subscriber.kind; came != "application/cloudevents+json" || here.subscriber.tries["/dead-letter"] != 0 {
		t.Errorf("it came as %s", came)
	}
}

// The times between are nothing here: retry_test.go adds them up.
func bringsDeadLettersAfterAllTriesAndAsOften(t *testing.T, here *outage) {
	delivery, atOnce := here.broker.trigger.Spec.Delivery, "PT0S"
	delivery.BackoffDelay = &atOnce
	tries := 1 + int(*delivery.Retry)
	here.subscriber.repeats = true
	here.subscriber.before = func(path string, try int) {
		if path == "/dead-letter" && try == tries {
			here.subscriber.repeats = false
			here.ends()
		}
	}
	here.follows(t, repository(0))
	here.begins(t)
	here.queues(t, repository(0), 1)
	here.announces(t, 1, commit(1))
	want := map[string]int{"/": tries, "/dead-letter": tries}
	if diff := cmp.Diff(want, here.subscriber.tries); diff != "" {
		t.Error(diff)
	}
}

func isTrustedWithTheAuthorityThatTheSinkBindingInjects(t *testing.T, here *outage) {
	here.broker.secures(t)
	here.follows(t, repository(0))
	here.begins(t)
	here.queues(t, repository(0), 1)
	here.ends()
	here.announces(t, 1, commit(1))
}

// outage is a service in a namespace of its own, whose API server goes away.
type outage struct {
	cluster   server
	namespace string
	door      *door
	broker    *mtBroker
	service   *service
	// subscriber is between the Broker and the service.
	subscriber subscriber
}

const secret = "correct horse battery staple"

func outageOf(t *testing.T, cluster server) *outage {
	t.Helper()
	namespace := strings.TrimPrefix(cluster.kubectl(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "outage-"}}`,
		"create", "--output=name", "-f", "-"), "namespace/")
	it := &outage{cluster: cluster, namespace: strings.TrimSpace(namespace), door: before(t, cluster), broker: shipped(t)}
	cluster.kubectl(t, "", "create", "secret", "generic", "gitjob-webhook", "--namespace="+it.namespace, "--from-literal=github="+secret)
	return it
}

// follows creates a GitRepo of that name which follows main.
func (o *outage) follows(t *testing.T, repository string) {
	t.Helper()
	o.cluster.kubectl(t, fmt.Sprintf(`{"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "GitRepo", "metadata": {"name": %q},
		"spec": {"repo": "https://github.com/acme/%s", "branch": "main"}}`, repository, repository),
		"create", "--namespace="+o.namespace, "-f", "-")
}

// begins starts the service, and the Broker before it; when it has seen the API server, that goes away.
func (o *outage) begins(t *testing.T) {
	t.Helper()
	o.broker.serves(t)
	o.service = served(t, append(o.broker.injected(t), "KUBECONFIG="+o.door.kubeconfig,
		"FLEET_NAMESPACE="+o.namespace, "GITREPO_NAMESPACES="+o.namespace)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(o.service.logged())
		}
	})
	o.subscriber.service = httputil.NewSingleHostReverseProxy(parsed(t, o.service.url).URL())
	o.broker.subscribes(t, serveHTTP(t, &o.subscriber, nil))
	if status, outcome := o.push(t, "nobody-follows", 1); outcome != "ignored" {
		t.Fatalf("%d %s", status, outcome)
	}
	o.door.is(true)
}

func (o *outage) ends() { o.door.is(false) }

// announces waits until each of so many GitRepos has the commit, where all was queued.
func (o *outage) announces(t *testing.T, repositories int, commit string) {
	t.Helper()
	if t.Failed() {
		return
	}
	eventually(t, "all are announced", func() bool {
		all := o.cluster.kubectl(t, "", "get", "gitrepos", "--namespace="+o.namespace,
			`--output=jsonpath={range .items[*]}{.metadata.name}:{.status.webhookCommit}{"\n"}{end}`)
		return strings.Count(all, ":"+commit+"\n") == repositories
	})
}

// queues says so, of the nth push to main.
func (o *outage) queues(t *testing.T, repository string, number int) {
	if status, outcome := o.push(t, repository, number); status != http.StatusAccepted || outcome != "queued" {
		t.Errorf("%s, push %d: %d %s", repository, number, status, outcome)
	}
}

// push is the nth push to main, as GitHub delivers it; it answers with status and outcome.
func (o *outage) push(t *testing.T, repository string, number int) (int, string) {
	body := fmt.Appendf(nil, `{"ref": "refs/heads/main", "before": %q, "after": %q, "repository": {"full_name": "acme/%s",
		"html_url": "https://github.com/acme/%s", "clone_url": "https://github.com/acme/%s.git"}}`,
		commit(number-1), commit(number), repository, repository, repository)
	request, err := http.NewRequest(http.MethodPost, o.service.url, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-GitHub-Event", "push")
	request.Header.Set("X-Hub-Signature-256", fmt.Sprintf("sha256=%x", mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer answer.Body.Close()
	var said struct{ Outcome string }
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		t.Error(err)
	}
	return answer.StatusCode, said.Outcome
}

// subscriber hands the Broker's events to the service, and counts them.
type subscriber struct {
	service http.Handler
	mutex   sync.Mutex
	tries   map[string]int // by their paths
	kind    string         // the content type of the last one
	// repeats has it say again at once what the service said first, which takes that some seconds.
	repeats bool
	said    *httptest.ResponseRecorder
	before  func(path string, try int)
}

func (s *subscriber) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	if s.tries == nil {
		s.tries = map[string]int{}
	}
	s.tries[request.URL.Path]++
	s.kind = request.Header.Get("Content-Type")
	if s.before != nil {
		s.before(request.URL.Path, s.tries[request.URL.Path])
	}
	said := s.said
	repeats := s.repeats
	s.mutex.Unlock()
	if !repeats || said == nil {
		said = httptest.NewRecorder()
		s.service.ServeHTTP(said, request)
	}
	s.mutex.Lock()
	s.said = said
	s.mutex.Unlock()
	maps.Copy(writer.Header(), said.Header())
	writer.WriteHeader(said.Code)
	_, _ = writer.Write(said.Body.Bytes())
}

func repository(number int) string { return fmt.Sprintf("shop-%d", number) }

func commit(number int) string { return fmt.Sprintf("%040d", number+1) }
