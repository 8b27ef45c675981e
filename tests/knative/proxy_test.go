package knative

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Knative's queue-proxy, Traefik and others are Go's own reverse proxy: it answers 502 where the program answers early
// and closes while the body is still sent.
func TestWhoeverSendsTooMuchThroughAProxyIsToldSo(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	nowhere := `{"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}], "contexts": [{"name": "a",
		"context": {"cluster": "a", "user": "a"}}], "users": [{"name": "a", "user": {"token": "a"}}], "current-context": "a"}`
	if err := os.WriteFile(kubeconfig, []byte(nowhere), 0o600); err != nil {
		t.Fatal(err)
	}
	service := served(t, "KUBECONFIG="+kubeconfig, "MAX_BODY_BYTES=65536", "FLEET_NAMESPACE=fleet")
	behind, err := url.Parse(service.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(behind))
	t.Cleanup(proxy.Close)
	answers, mutex, senders := map[int]int{}, sync.Mutex{}, sync.WaitGroup{}
	for number := range 54 {
		senders.Add(1)
		go func() {
			defer senders.Done()
			// With a length, and in chunks; some end soon after the limit, some long after it.
			body := bytes.NewReader(bytes.Repeat([]byte(" "), 65537<<(number%7)))
			request, err := http.NewRequest(http.MethodPost, proxy.URL, body)
			if err != nil {
				t.Error(err)
				return
			}
			if number%2 == 0 {
				request.ContentLength = -1
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("X-GitHub-Event", "push")
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
			mutex.Lock()
			defer mutex.Unlock()
			answers[answer.StatusCode]++
		}()
	}
	senders.Wait()
	if answers[http.StatusRequestEntityTooLarge] != 54 {
		t.Errorf("answers by their status: %v", answers)
	}
}
