// The folder of a cluster: what is in it, and how it comes to be. state.json
// is made once and is the only thing that has to last; every other file of
// ours is written anew from it at each start.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// longestSocket is what fits into a sockaddr_un on Linux and macOS.
const longestSocket = 103

// state is what a second run needs to be the same cluster again.
type state struct {
	Port              int
	CA                string
	ServingCert       string
	ServingKey        string
	ClientCert        string
	ClientKey         string
	ServiceAccountKey string
	AdminToken        string
	FunctionToken     string
}

type folder struct {
	state
	dir  string
	lock *os.File
	log  *os.File
}

func openFolder(dir string) (*folder, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{dir: absolute}
	if length := len(f.path("etcd.sock")); length > longestSocket {
		return nil, fmt.Errorf("%s is too long for a socket: %d characters, at most %d", f.path("etcd.sock"), length, longestSocket)
	}
	if err := os.MkdirAll(f.path("etcd"), 0o700); err != nil {
		return nil, err
	}

	f.lock, err = os.OpenFile(f.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another cluster is serving %s: %w", f.dir, err)
	}
	f.log, err = os.OpenFile(f.path("cluster.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.loadState(); err != nil {
		return nil, err
	}
	return f, f.writeFiles()
}

func (f *folder) Close() {
	f.log.Close()
	f.lock.Close()
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) server() string { return "https://" + loopback(f.Port) }

// etcd is the client address of etcd: a socket, so that no port is needed.
func (f *folder) etcd() string { return "unix://" + f.path("etcd.sock") }

func (f *folder) loadState() error {
	content, err := os.ReadFile(f.path("state.json"))
	if err == nil {
		if err := json.Unmarshal(content, &f.state); err != nil {
			return fmt.Errorf("%s: %w", f.path("state.json"), err)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	if f.state, err = newState(); err != nil {
		return err
	}
	content, err = json.MarshalIndent(f.state, "", "  ")
	if err != nil {
		return err
	}
	// Renamed into place: killed at any moment, there is a whole state or none.
	if err := os.WriteFile(f.path("state.json.new"), content, 0o600); err != nil {
		return err
	}
	return os.Rename(f.path("state.json.new"), f.path("state.json"))
}

func newState() (state, error) {
	s := state{AdminToken: rand.Text(), FunctionToken: rand.Text()}
	var err error
	if s.Port, err = freePort(); err != nil {
		return s, err
	}
	if err := s.newCertificates(); err != nil {
		return s, fmt.Errorf("certificates: %w", err)
	}
	return s, nil
}

// freePort stays below the ports which the kernel gives to clients: nobody
// must take ours while the cluster is down between two runs.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		var listener net.Listener
		if listener, err = net.Listen("tcp", loopback(port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
