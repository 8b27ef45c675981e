// Waiting: for the port before the start, for /readyz after it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	pollEvery   = 50 * time.Millisecond
	portTimeout = 5 * time.Second
)

// waitForPort gives the last owner of the port, a cluster which was just
// killed, a moment to be gone.
func waitForPort(ctx context.Context, port int) error {
	deadline := time.Now().Add(portTimeout)
	for {
		listener, err := net.Listen("tcp", loopback(port))
		if err == nil {
			return listener.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the port of this folder is taken: %w", err)
		}
		if !sleep(ctx, pollEvery) {
			return nil
		}
	}
}

// waitUntilReady returns when the API server says that it is ready, or when
// ctx ends.
func waitUntilReady(ctx context.Context, folder *folder) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(folder.CA)) {
		return fmt.Errorf("no certificate in %s", folder.path("state.json"))
	}
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	defer client.CloseIdleConnections()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, folder.server()+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("readyz: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+folder.AdminToken)
	for {
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !sleep(ctx, pollEvery) {
			return ctx.Err()
		}
	}
}

// sleep is false when ctx ended first.
func sleep(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}
