package knative

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	duck "knative.dev/eventing/pkg/apis/duck/v1"
	eventingkeys "knative.dev/eventing/pkg/apis/eventing"
	eventing "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	messaging "knative.dev/eventing/pkg/apis/messaging/v1"
	sources "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/eventing/pkg/auth"
	"knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/broker/filter"
	"knative.dev/eventing/pkg/broker/ingress"
	"knative.dev/eventing/pkg/channel"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/client/informers/externalversions"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/reconciler/broker/resources"
	"knative.dev/eventing/pkg/reconciler/sugar/trigger/path"
	"knative.dev/pkg/apis"
	addresses "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/resolver"
	"knative.dev/pkg/system"
)

func init() {
	os.Setenv(system.NamespaceEnvKey, "knative-eventing")
}

// mtBroker is Knative's own Broker of the default class: its ingress, its in-memory channel's dispatcher and its filter,
// which serve the shipped Broker, Trigger and SinkBinding. Its reconcilers need Knative's cluster: what they write into
// objects is written here.
type mtBroker struct {
	broker    eventing.Broker
	trigger   eventing.Trigger
	binding   sources.SinkBinding
	informers externalversions.SharedInformerFactory
	filter    string
	secured   *tls.Config   // as where Knative is told to encrypt
	authority *string       // behind that
	features  feature.Flags // none, as by default
}

// shipped is that Broker of the manifests in testdata/retry, before anything serves.
func shipped(t *testing.T) *mtBroker {
	t.Helper()
	all := render(t, "testdata/retry")
	it := &mtBroker{informers: externalversions.NewSharedInformerFactory(nil, 0)}
	decode(t, find(t, all, "eventing.knative.dev/v1", "Broker"), &it.broker)
	decode(t, find(t, all, "eventing.knative.dev/v1", "Trigger"), &it.trigger)
	decode(t, find(t, all, "sources.knative.dev/v1", "SinkBinding"), &it.binding)
	it.trigger.UID = "1"
	return it
}

// serves starts ingress and filter, with no subscriber yet: the service has to know the ingress first.
func (m *mtBroker) serves(t *testing.T) {
	t.Helper()
	log, meters, traces := zap.NewNop(), otel.GetMeterProvider(), otel.GetTracerProvider()
	featured := func(ctx context.Context) context.Context { return feature.ToContext(ctx, m.features) }
	brokers, triggers := m.informers.Eventing().V1().Brokers(), m.informers.Eventing().V1().Triggers()
	filtering, err := filter.NewHandler(log, nil, nil, triggers, brokers, m.informers.Messaging().V1().Subscriptions(), nil,
		featured, meters, traces)
	if err != nil {
		t.Fatal(err)
	}
	m.filter = serveHTTP(t, filtering, nil)
	taking, err := ingress.NewHandler(log, broker.TTLDefaulter(log, 255), brokers, &auth.Verifier{}, nil, nil, featured,
		meters, traces)
	if err != nil {
		t.Fatal(err)
	}
	url := parsed(t, serveHTTP(t, taking, m.secured))
	url.Path = "/" + m.broker.Namespace + "/" + m.broker.Name
	m.broker.Status.Address = &addresses.Addressable{URL: url, CACerts: m.authority}
}

// subscribes has the Trigger bring events to the service at url, as the reconcilers of Broker, Trigger and Subscription do.
func (m *mtBroker) subscribes(t *testing.T, url string) {
	t.Helper()
	m.trigger.Status.SubscriberURI = resolved(t, m.trigger.Spec.Subscriber, url)
	delivery := m.trigger.Spec.Delivery.DeepCopy()
	delivery.DeadLetterSink = &addresses.Destination{URI: resolved(t, *delivery.DeadLetterSink, url)}
	to := parsed(t, m.filter)
	to.Path = path.Generate(&m.trigger)
	subscription, err := fanout.SubscriberSpecToFanoutConfig(duck.SubscriberSpec{
		SubscriberURI: to, ReplyURI: m.broker.Status.Address.URL, Delivery: delivery})
	if err != nil {
		t.Fatal(err)
	}
	subscription.Namespace = m.trigger.Namespace
	address := serveHTTP(t, m.dispatches(t, *subscription), nil)
	m.broker.Status.Annotations = map[string]string{
		eventingkeys.BrokerChannelAddressStatusAnnotationKey: fmt.Sprintf("%s/%s/%s", address, m.broker.Namespace,
			resources.BrokerChannelName(m.broker.Name, "trigger")),
	}
	for indexer, object := range map[cache.Indexer]any{
		m.informers.Eventing().V1().Brokers().Informer().GetIndexer():  &m.broker,
		m.informers.Eventing().V1().Triggers().Informer().GetIndexer(): &m.trigger,
	} {
		if err := indexer.Add(object); err != nil {
			t.Fatal(err)
		}
	}
}

// dispatches is the Broker's in-memory channel, which has those of its annotations that are for channels.
func (m *mtBroker) dispatches(t *testing.T, subscription fanout.Subscription) http.Handler {
	t.Helper()
	annotations := map[string]string{}
	for key, value := range m.broker.Annotations {
		if strings.HasPrefix(key, messaging.SchemeGroupVersion.Group) {
			annotations[key] = value
		}
	}
	async, _ := strconv.ParseBool(annotations[messaging.AsyncHandlerAnnotation])
	config := fanout.Config{Subscriptions: []fanout.Subscription{subscription}, AsyncHandler: async}
	dispatcher := kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil)
	handler, err := fanout.NewFanoutEventHandler(zap.NewNop(), config, nil, nil, nil, dispatcher, otel.GetMeterProvider(),
		otel.GetTracerProvider(), channel.ResolveChannelFromPath(channel.ParseChannelFromPath))
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// injected is what the SinkBinding sets in the service's container.
func (m *mtBroker) injected(t *testing.T) (environment []string) {
	t.Helper()
	binding := m.binding.DeepCopy()
	binding.Spec.Sink = addresses.Destination{URI: m.broker.Status.Address.URL, CACerts: m.authority}
	ctx := sources.WithURIResolver(context.Background(), &resolver.URIResolver{})
	bundles := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	ctx = sources.WithTrustBundleConfigMapLister(ctx, listers.NewConfigMapLister(bundles))
	var service addresses.WithPod
	decode(t, find(t, render(t, "testdata/retry"), "serving.knative.dev/v1", "Service"), &service)
	binding.Do(ctx, &service)
	for _, variable := range service.Spec.Template.Spec.Containers[0].Env {
		environment = append(environment, variable.Name+"="+variable.Value)
	}
	return environment
}

// secures has the ingress serve with TLS, as Knative sets it up, under an authority of its own.
func (m *mtBroker) secures(t *testing.T) {
	t.Helper()
	config, err := eventingtls.GetTLSServerConfig(eventingtls.NewDefaultServerConfig())
	if err != nil {
		t.Fatal(err)
	}
	authority, certificate := certified(t)
	config.Certificates = []tls.Certificate{certificate}
	m.secured, m.authority = config, &authority
}

// certified is a certificate for 127.0.0.1, and the authority that signed it.
func certified(t *testing.T) (authority string, certificate tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(template, parent *x509.Certificate) []byte {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "knative-eventing-ca"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made(root, root)}))
	return authority, tls.Certificate{Certificate: [][]byte{made(leaf, root)}, PrivateKey: key}
}

// resolved is where a destination leads if the service is at url.
func resolved(t *testing.T, destination addresses.Destination, url string) *apis.URL {
	t.Helper()
	to := destination.Ref
	if to == nil || to.APIVersion != "serving.knative.dev/v1" || to.Kind != "Service" || to.Name != "fleet-webhook" {
		t.Fatalf("it does not lead to the service: %v", destination)
	}
	service := parsed(t, url)
	if destination.URI != nil {
		return service.ResolveReference(destination.URI)
	}
	return service
}

func parsed(t *testing.T, url string) *apis.URL {
	t.Helper()
	address, err := apis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// serveHTTP serves until the test ends, with TLS if it is secured.
func serveHTTP(t *testing.T, handler http.Handler, secured *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	if secured != nil {
		server.TLS = secured
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}
