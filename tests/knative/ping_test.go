package knative

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What `helm test` runs in its pod, run here; the service's answers are those of contract §6 to a ping.
func TestThePingOfHelmTestIsSignedAndItsAnswerCounts(t *testing.T) {
	needs(t, "wget")
	rendered, err := run("", helm(t), "template", "fleet-webhook", chart, "--namespace", rancher,
		"--show-only=templates/tests/ping.yaml")
	if err != nil {
		t.Fatal(rendered)
	}
	var pod struct {
		Spec struct {
			Containers []struct {
				Command, Args []string
				Env           []struct{ Name, Value string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(rendered), &pod); err != nil {
		t.Fatal(err)
	}
	container := pod.Spec.Containers[0]
	if container.Env[0].Value != "http://fleet-webhook.cattle-fleet-system.svc/" {
		t.Errorf("pings %s", container.Env[0].Value)
	}

	const secret = `It's a "Secret" to Everybody`
	service := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		signed := request.Header.Get("X-Hub-Signature-256") == "sha256="+hex.EncodeToString(mac.Sum(nil))
		ping := request.Method == "POST" && request.Header.Get("X-GitHub-Event") == "ping" &&
			request.Header.Get("Content-Type") == "application/json"
		if !signed || !ping {
			answer.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(answer, `{"outcome":"pong"}`)
	}))
	defer service.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		answer.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer broken.Close()
	for _, ping := range []struct {
		url, secret string
		good        bool
		says        string
	}{
		{service.URL, secret, true, "pong"},
		{service.URL, "wrong", false, "401"},
		{service.URL, "", true, "no key github"},
		{broken.URL, secret, false, "503"},
		{broken.URL, "", false, "503"},
		{"http://127.0.0.1:1", secret, false, ""},
	} { // That nothing listens GNU's wget, unlike busybox's, keeps to itself when it is quiet.
		pinging := exec.Command(container.Command[0], append(container.Command[1:], container.Args...)...)
		pinging.Env = append(os.Environ(), "URL="+ping.url, "SECRET="+ping.secret)
		said, err := pinging.CombinedOutput()
		if (err == nil) != ping.good {
			t.Errorf("%v: %v: %s", ping, err, said)
		}
		if !strings.Contains(string(said), ping.says) {
			t.Errorf("%v says %s", ping, said)
		}
	}
}
