package knative

import (
	"bytes"
	"net/http"
	"net/http/httputil"
	"sync"
	"testing"
)

// Knative's queue-proxy, Traefik and others have Go's own reverse proxy inside: it answers 502 where the program answers early
// and closes while the body is still sent.
func TestWhoeverSendsTooMuchThroughAProxyIsToldSo(t *testing.T) {
	t.Parallel()
	service := served(t, "KUBECONFIG="+nowhere(t), "MAX_BODY_BYTES=65536", "FLEET_NAMESPACE=fleet")
	knative, _ := queueProxy(t, service.url)
	for name, proxy := range map[string]string{
		"Go's":      serveHTTP(t, httputil.NewSingleHostReverseProxy(parsed(t, service.url).URL()), nil),
		"Knative's": knative,
	} {
		t.Run(name, func(t *testing.T) { tellsWhoeverSendsTooMuch(t, proxy) })
	}
}

func tellsWhoeverSendsTooMuch(t *testing.T, proxy string) {
	t.Helper()
	answers, mutex, senders := map[int]int{}, sync.Mutex{}, sync.WaitGroup{}
	for number := range 54 {
		senders.Add(1)
		go func() {
			defer senders.Done()
			// With a length, and in chunks; some end soon after the limit, some long after it.
			body := bytes.NewReader(bytes.Repeat([]byte(" "), 65537<<(number%7)))
			request, err := http.NewRequest(http.MethodPost, proxy, body)
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
