//go:build assets

// The servers as child processes, from the folder $KUBEBUILDER_ASSETS: the
// build for those who have one. It imports nothing but the standard library.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

var programs = map[string]func(arguments []string) error{"kubectl": runKubectl}

// run serves until ctx ends or a server does, and leaves no child behind.
func run(ctx context.Context, folder *folder, flags []string) error {
	// The kernel ties a child to the thread that started it: see endWithParent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	ended := make(chan error, 2)
	started := 0
	defer func() {
		stop()
		for ; started > 0; started-- {
			<-ended
		}
	}()
	for _, program := range []struct {
		name      string
		dir       string
		arguments []string
	}{
		{"etcd", folder.path("etcd"), etcdFlags(folder)},
		{"kube-apiserver", "", flags},
	} {
		child, err := asset(ctx, program.name, program.arguments)
		if err != nil {
			return err
		}
		child.Dir = program.dir
		child.Stdout, child.Stderr = folder.log, folder.log
		endWithParent(child)
		if err := child.Start(); err != nil {
			return err
		}
		started++
		go func() { ended <- fmt.Errorf("%s ended: %v", program.name, child.Wait()) }()
	}

	err := <-ended
	started--
	return err
}

func etcdFlags(folder *folder) []string {
	// There are no peers. etcd wants addresses for them all the same: a socket
	// in its own folder, and a name.
	return []string{
		"--data-dir=" + folder.path("etcd"),
		"--listen-client-urls=" + folder.etcd(),
		"--advertise-client-urls=http://localhost:2379",
		"--listen-peer-urls=unix://peer:0",
		"--unsafe-no-fsync",
		"--enable-grpc-gateway=false",
		"--log-level=warn",
	}
}

func runKubectl(arguments []string) error {
	kubectl, err := asset(context.Background(), "kubectl", arguments)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", kubectl.Path, syscall.Exec(kubectl.Path, kubectl.Args, os.Environ()))
}

func asset(ctx context.Context, name string, arguments []string) (*exec.Cmd, error) {
	folder := os.Getenv("KUBEBUILDER_ASSETS")
	if folder == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS is not set: this build takes etcd, kube-apiserver and kubectl from there")
	}
	absolute, err := filepath.Abs(filepath.Join(folder, name))
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, absolute, arguments...), nil
}

func takeTerminal(*os.File) (terminal, error) { return terminal{os.Stdout, os.Stderr}, nil }
