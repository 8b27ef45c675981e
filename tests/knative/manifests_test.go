// Package knative holds the manifests against Knative's own validation, which
// refuses much of what its CustomResourceDefinitions let through, and against
// what they promise: one namespace, least rights, nothing privileged.
package knative

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"knative.dev/eventing/pkg/apis/config"
	eventing "knative.dev/eventing/pkg/apis/eventing/v1"
	sources "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	serving "knative.dev/serving/pkg/apis/serving/v1"
	"knative.dev/serving/pkg/apis/serving/v1beta1"
	"sigs.k8s.io/yaml"
)

const manifests = "../../knative"

// What users apply, and the namespace it goes to.
var kustomizations = map[string]string{
	manifests:                      rancher,
	manifests + "/overlays/public": rancher,
	manifests + "/kubernetes":      rancher,
	manifests + "/kubernetes/overlays/instead-of-gitjob": rancher,
	"testdata/own-image":          "my-fleet",
	"testdata/gitrepo-secrets":    rancher,
	"testdata/gitrepo-namespaces": rancher,
	"testdata/own-host-tls":       rancher,
	"testdata/podmonitor":         rancher,
	"testdata/retry":              rancher,
	"testdata/pull":               rancher,
	"testdata/alb":                rancher,
	"testdata/guarded":            rancher,
	"testdata/monitored":          rancher,
}

// Where Rancher installs Fleet.
const rancher = "cattle-fleet-system"

var clusterWide = []string{
	"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}

// Bindings are where the GitRepos are, not where the service is.
const (
	secretsBinding  = "fleet-webhook-gitrepo-secrets.cattle-fleet-system"
	gitreposBinding = "fleet-webhook-gitrepos.cattle-fleet-system"
)

func TestKnativeAcceptsTheManifests(t *testing.T) {
	seen := map[string]int{}
	for folder := range everything(t) {
		for _, object := range render(t, folder) {
			if strings.Contains(object.APIVersion, ".knative.dev/") {
				seen[object.Kind]++
				if problem := validate(t, object); problem != nil {
					t.Errorf("%s: %s %s: %v", folder, object.Kind, object.Metadata.Name, problem)
				}
			}
		}
	}
	if seen["Service"] < 3 || seen["DomainMapping"] < 1 || seen["Broker"] < 1 || seen["Trigger"] < 1 || seen["SinkBinding"] < 1 {
		t.Errorf("only these Knative objects were rendered: %v", seen)
	}
}

// The test above would also pass with a validation that lets everything through.
func TestKnativeRefusesWhatItIsKnownToRefuse(t *testing.T) {
	for _, change := range [][2]string{
		{"name: RUST_LOG", "name: PORT"},
		{"timeoutSeconds: 90", "timeoutSeconds: 601"},
		{"containerConcurrency: 0", "containerConcurrency: 1001"},
		{"name: http1", "name: http"},
		{"serviceAccountName: fleet-webhook", "securityContext: {runAsUser: 65532}"},
		{"backoffDelay: PT5S", "backoffDelay: 5s"},
		{"retry: 38", "retry: -1"},
		{"type: dev.fleet-webhook.delivery", "Type: dev.fleet-webhook.delivery"},
		{"subject:", "subjects:"},
	} {
		changes := 0
		for _, object := range render(t, "testdata/retry") {
			changed := bytes.Replace(object.text, []byte(change[0]), []byte(change[1]), 1)
			if !strings.Contains(object.APIVersion, ".knative.dev/") || bytes.Equal(changed, object.text) {
				continue
			}
			changes++
			object.text = changed
			if validate(t, object) == nil {
				t.Errorf("accepted with %q", change[1])
			}
		}
		if changes != 1 {
			t.Errorf("%q is in %d manifests", change[0], changes)
		}
	}
}

// Knative's proxy lets deliveries wait for a place, and for that long the program's DEADLINE does not run.
func TestNoDeliveryWaitsWhereItsDeadlineDoesNotRunYet(t *testing.T) {
	var service serving.Service
	text := find(t, render(t, manifests), "serving.knative.dev/v1", "Service").text
	if err := yaml.Unmarshal(text, &service); err != nil {
		t.Fatal(err)
	}
	revision := service.Spec.Template
	if places := revision.Spec.GetContainerConcurrency(); places != 0 {
		t.Errorf("there are %d places", places)
	}
	if target := revision.Annotations["autoscaling.knative.dev/target"]; target != "100" {
		t.Errorf("another instance comes at %q at once", target)
	}
}

func TestEverythingGoesToTheNamespaceThatIsNamed(t *testing.T) {
	for folder, namespace := range everything(t) {
		for _, object := range render(t, folder) {
			elsewhere := slices.Contains([]string{secretsBinding, gitreposBinding}, object.Metadata.Name)
			switch {
			case slices.Contains(clusterWide, object.Kind):
				// Two installations would take it from each other.
				if !strings.HasSuffix(object.Metadata.Name, "."+namespace) {
					t.Errorf("%s: every installation has a %s %s", folder, object.Kind, object.Metadata.Name)
				}
			case !elsewhere && object.Metadata.Namespace != namespace:
				t.Errorf("%s: %s is in %q", folder, object.Kind, object.Metadata.Namespace)
			}
			for _, subject := range object.Subjects {
				if subject.Name != "fleet-webhook" || subject.Namespace != namespace {
					t.Errorf("%s: %s binds %v", folder, object.Kind, subject)
				}
			}
		}
	}
}

func TestOwnSecretsAreReadableOnlyWhereListed(t *testing.T) {
	var namespaces []string
	for _, object := range render(t, "testdata/gitrepo-secrets") {
		if object.Kind == "ClusterRoleBinding" && object.RoleRef.Name != "fleet-webhook."+rancher {
			t.Errorf("%s is bound in the whole cluster", object.RoleRef.Name)
		}
		if object.Kind == "RoleBinding" && object.Metadata.Name == secretsBinding {
			namespaces = append(namespaces, object.Metadata.Namespace)
		}
	}
	slices.Sort(namespaces)
	if !slices.Equal(namespaces, []string{"fleet-default", "fleet-local"}) {
		t.Errorf("bound in %v", namespaces)
	}
}

func TestGitReposOfSomeNamespacesNeedNoRightInTheWholeCluster(t *testing.T) {
	var namespaces []string
	for _, object := range render(t, "testdata/gitrepo-namespaces") {
		if object.Kind == "ClusterRoleBinding" {
			t.Errorf("%s is bound in the whole cluster", object.RoleRef.Name)
		}
		if object.Metadata.Name == gitreposBinding {
			namespaces = append(namespaces, object.Metadata.Namespace)
		}
		value := "- name: GITREPO_NAMESPACES\n          value: " + strings.Join(namespaces, ",") + "\n"
		if object.Kind == "Deployment" && !bytes.Contains(object.text, []byte(value)) {
			t.Errorf("no %q in\n%s", value, object.text)
		}
	}
	if !slices.Equal(namespaces, []string{"fleet-default", "fleet-local"}) {
		t.Errorf("bound in %v", namespaces)
	}
}

func TestEveryBindingForAFunctionOutsideIsForThatFunction(t *testing.T) {
	for folder, subject := range map[string]string{
		manifests + "/eks":                        "Group/fleet-webhook",
		manifests + "/eks/gitrepo-secrets":        "Group/fleet-webhook",
		manifests + "/kubeconfig":                 "ServiceAccount/fleet-webhook-outside",
		manifests + "/kubeconfig/gitrepo-secrets": "ServiceAccount/fleet-webhook-outside",
	} {
		bindings := 0
		for _, object := range render(t, folder) {
			if object.RoleRef.Name == "" {
				continue
			}
			bindings++
			if len(object.Subjects) != 1 || object.Subjects[0].Kind+"/"+object.Subjects[0].Name != subject {
				t.Errorf("%s: %s %s binds %v", folder, object.Kind, object.Metadata.Name, object.Subjects)
			}
		}
		if bindings != 2 {
			t.Errorf("%s has %d bindings", folder, bindings)
		}
	}
}

func TestWhatIsPublicRefusesUnsignedDeliveries(t *testing.T) {
	const reject = "- name: UNSIGNED_DELIVERIES\n          value: reject"
	for folder, public := range map[string]bool{
		manifests:                      false,
		manifests + "/overlays/public": true,
		manifests + "/kubernetes":      true,
		manifests + "/kubernetes/overlays/instead-of-gitjob": true,
		"testdata/gitrepo-secrets":                           true,
	} {
		var whole []byte
		for _, object := range render(t, folder) {
			whole = append(whole, object.text...)
		}
		if bytes.Contains(whole, []byte(reject)) != public {
			t.Errorf("%s: UNSIGNED_DELIVERIES=reject should be there: %v", folder, public)
		}
		if public && bytes.Contains(whole, []byte("visibility: cluster-local")) {
			t.Errorf("%s: is cluster-local all the same", folder)
		}
	}
}

func TestTheImageIsOneEntryOfAKustomization(t *testing.T) {
	service := find(t, render(t, "testdata/own-image"), "serving.knative.dev/v1", "Service")
	if !bytes.Contains(service.text, []byte("image: registry.example.com/fleet-webhook:0.1.0\n")) {
		t.Errorf("another image:\n%s", service.text)
	}
}

func TestTheCertificateIsForTheHostOfTheIngress(t *testing.T) {
	ingress := find(t, render(t, "testdata/own-host-tls"), "networking.k8s.io/v1", "Ingress")
	for _, part := range []string{"- host: hooks.acme.example\n", "  - hosts:\n    - hooks.acme.example\n"} {
		if !bytes.Contains(ingress.text, []byte(part)) {
			t.Errorf("no %q in\n%s", part, ingress.text)
		}
	}
}

// An object is what these tests look at, and its whole text.
type object struct {
	APIVersion string
	Kind       string
	Metadata   struct{ Name, Namespace string }
	RoleRef    struct{ Name string }
	Subjects   []struct{ Kind, Name, Namespace string }
	text       []byte
}

// render asks kubectl: the one of tests/cluster where CLUSTER names that
// program, the one on the PATH otherwise.
func render(t *testing.T, folder string) []object {
	t.Helper()
	command := []string{"kubectl"}
	if cluster := os.Getenv("CLUSTER"); cluster != "" {
		command = []string{cluster, "kubectl"}
	}
	command = append(command, "kustomize", filepath.FromSlash(folder))
	kubectl := exec.Command(command[0], command[1:]...)
	kubectl.Stderr = os.Stderr
	rendered, err := kubectl.Output()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return split(t, rendered)
}

// split reads a stream of YAML documents.
func split(t *testing.T, stream []byte) []object {
	t.Helper()
	var objects []object
	for _, text := range regexp.MustCompile(`(?m)^---\s*$`).Split(string(stream), -1) {
		one := object{text: []byte(text)}
		if err := yaml.Unmarshal(one.text, &one); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if one.Kind != "" { // and not a comment alone
			objects = append(objects, one)
		}
	}
	return objects
}

// id tells objects of a cluster apart.
func (o object) id() string {
	return fmt.Sprintf("%s %s %s/%s", o.APIVersion, o.Kind, o.Metadata.Namespace, o.Metadata.Name)
}

// decode reads an object as one of another's types.
func decode(t *testing.T, object object, into any) {
	t.Helper()
	if err := yaml.Unmarshal(object.text, into); err != nil {
		t.Fatalf("%s: %v", object.id(), err)
	}
}

func find(t *testing.T, objects []object, apiVersion, kind string) object {
	t.Helper()
	for _, object := range objects {
		if object.APIVersion == apiVersion && object.Kind == kind {
			return object
		}
	}
	t.Fatalf("no %s %s", apiVersion, kind)
	return object{}
}

// validate does what Knative's webhooks do with a new object: strict decoding,
// defaults, validation.
func validate(t *testing.T, object object) error {
	t.Helper()
	var resource interface {
		apis.Defaultable
		apis.Validatable
	}
	switch object.Kind {
	case "Service":
		resource = &serving.Service{}
	case "DomainMapping":
		resource = &v1beta1.DomainMapping{}
	case "Broker":
		resource = &eventing.Broker{}
	case "Trigger":
		resource = &eventing.Trigger{}
	case "SinkBinding":
		resource = &sources.SinkBinding{}
	default:
		t.Fatalf("no validation for %s", object.Kind)
	}
	if err := yaml.UnmarshalStrict(object.text, resource); err != nil {
		return err
	}
	// Knative's own installation has this default.
	ctx := apis.WithinCreate(config.ToContext(context.Background(), &config.Config{Defaults: &config.Defaults{
		ClusterDefaultConfig: &config.DefaultConfig{DefaultBrokerClass: "MTChannelBasedBroker"}}}))
	resource.SetDefaults(ctx)
	// Validate's nil is a typed one.
	if problem := resource.Validate(ctx); problem != nil {
		return problem
	}
	return nil
}

// OpenShift gives each namespace users of its own, and refuses pods that name another; the image names its own.
func TestNoManifestSaysAsWhomThePodsRun(t *testing.T) {
	for folder := range everything(t) {
		for _, object := range render(t, folder) {
			if bytes.Contains(object.text, []byte("runAsUser")) || bytes.Contains(object.text, []byte("fsGroup")) {
				t.Errorf("%s: %s", folder, object.id())
			}
		}
	}
	image, err := os.ReadFile(manifests + "/Dockerfile")
	if err != nil || !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).Match(image) {
		t.Errorf("%v: the image runs as root, or as a name that Kubernetes cannot check", err)
	}
}

// What pulls has no way in: its ports are those of probes and figures, and no Service leads to them.
func TestWhatPullsCanBeReachedByNobody(t *testing.T) {
	for _, object := range render(t, "testdata/pull") {
		if slices.Contains([]string{"Service", "Ingress", "DomainMapping"}, object.Kind) {
			t.Errorf("there is a %s", object.id())
		}
	}
}
