package knative

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"
)

// door leads to an API server, until it is shut: then whoever comes is sent away, and whoever is inside is put out.
type door struct {
	kubeconfig string
	mutex      sync.Mutex
	shut       bool
	inside     []net.Conn
}

// before is a kubeconfig for the API server that leads through a door.
func before(t *testing.T, cluster server) *door {
	t.Helper()
	text, err := os.ReadFile(cluster.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	behind := config["clusters"].([]any)[0].(map[string]any)["cluster"].(map[string]any)
	_, address, _ := strings.Cut(behind["server"].(string), "://")
	behind["server"] = "https://" + listener.Addr().String()
	if text, err = yaml.Marshal(config); err != nil {
		t.Fatal(err)
	}
	it := &door{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(it.kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go it.lets(connection, address)
		}
	}()
	return it
}

func (d *door) lets(connection net.Conn, address string) {
	defer connection.Close()
	onward, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer onward.Close()
	d.mutex.Lock()
	if d.shut {
		d.mutex.Unlock()
		return
	}
	d.inside = append(d.inside, connection, onward)
	d.mutex.Unlock()
	go func() {
		_, _ = io.Copy(connection, onward)
		connection.Close()
	}()
	_, _ = io.Copy(onward, connection)
}

func (d *door) is(shut bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.shut = shut
	if !shut {
		return
	}
	for _, connection := range d.inside {
		connection.Close()
	}
	d.inside = nil
}

// nowhere is a kubeconfig for an API server that is not there.
func nowhere(t *testing.T) string {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}], "contexts": [{"name": "a",
		"context": {"cluster": "a", "user": "a"}}], "users": [{"name": "a", "user": {"token": "a"}}], "current-context": "a"}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}
