package knative

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	"knative.dev/networking/pkg/http/stats"
	"knative.dev/pkg/network"
	"knative.dev/serving/pkg/activator"
	serving "knative.dev/serving/pkg/apis/serving/v1"
	proxying "knative.dev/serving/pkg/http"
	"knative.dev/serving/pkg/http/handler"
	"knative.dev/serving/pkg/queue"
)

// queueProxy is what Knative puts before each instance: its own queue-proxy, set as for the shipped Service, in the order
// in which its program does it. What it counts is what the autoscaler is told.
func queueProxy(t *testing.T, url string) (string, *stats.RequestStats) {
	t.Helper()
	var service serving.Service
	decode(t, find(t, render(t, manifests), "serving.knative.dev/v1", "Service"), &service)
	revision := service.Spec.Template.Spec
	var breaker *queue.Breaker
	if most := int(*revision.ContainerConcurrency); most > 0 {
		breaker = queue.NewBreaker(queue.BreakerParams{QueueDepth: 10 * most, MaxConcurrency: most, InitialCapacity: most})
	}
	onward := proxying.NewHeaderPruningReverseProxy(parsed(t, url).Host, proxying.NoHostOverride, activator.RevisionHeaders, false)
	onward.Transport = network.NewProxyAutoTransport(1000, 1000)
	counted := stats.NewRequestStats(time.Now())
	whole := queue.ProxyHandler(otel.GetTracerProvider().Tracer(""), breaker, counted, onward)
	timed := handler.NewTimeoutHandler(queue.ForwardedShimHandler(whole), "request timeout",
		func(*http.Request) (time.Duration, time.Duration, time.Duration) {
			return time.Duration(*revision.TimeoutSeconds) * time.Second, 0, 0
		}, zap.NewNop().Sugar())
	return serveHTTP(t, queue.NewRouteTagHandler(timed), nil), counted
}

// There the program's DEADLINE would not count yet.
func TestNoDeliveryWaitsInTheQueueOfKnativesProxy(t *testing.T) {
	t.Parallel()
	const all = 150
	var inside atomic.Int32
	complete := make(chan struct{})
	proxy, _ := queueProxy(t, serveHTTP(t, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		if inside.Add(1) == all {
			close(complete)
		}
		select {
		case <-complete:
		case <-request.Context().Done():
		}
	}), nil))
	client, senders := http.Client{Timeout: 20 * time.Second}, sync.WaitGroup{}
	for range all {
		senders.Go(func() {
			if answer, err := client.Post(proxy, "application/json", nil); err != nil {
				t.Error(err)
			} else {
				answer.Body.Close()
			}
		})
	}
	senders.Wait()
}

// The proxy keeps the program's answer from them as long as they send nothing and stay, and no longer counts them.
func TestSendersOfHalfABodyCallForNoMoreInstances(t *testing.T) {
	t.Parallel()
	proxy, counted := queueProxy(t, served(t, "KUBECONFIG="+nowhere(t), "FLEET_NAMESPACE=fleet").url)
	const senders = 20
	for range senders {
		connection, err := net.Dial("tcp", parsed(t, proxy).Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { connection.Close() })
		fmt.Fprint(connection, "POST / HTTP/1.1\r\nHost: a\r\nX-GitHub-Event: push\r\nContent-Length: 1000\r\n\r\n{")
	}
	came := 0.0
	eventually(t, "the autoscaler has none of them", func() bool {
		report := counted.Report(time.Now())
		came += report.RequestCount
		return came == senders && report.AverageConcurrency == 0
	})
}
