//go:build !assets

// The servers inside this process: the build that tests use.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"golang.org/x/sys/unix"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/klog/v2"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlerrors "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// programs are what this program can be besides a cluster. With etcd and
// kube-apiserver it can stand in for the programs that assets.go runs.
var programs = map[string]func(arguments []string) error{
	"kubectl":        runKubectl,
	"kube-apiserver": runAPIServer,
	"etcd":           runEtcd,
}

// run serves until ctx ends or a server does.
func run(ctx context.Context, folder *folder, flags []string) error {
	ended := make(chan error, 3)
	// klog.Fatal must not take the process before serve has said where to look.
	klog.OsExit = func(code int) {
		ended <- fmt.Errorf("kube-apiserver gave up with code %d", code)
		select {}
	}
	go func() {
		etcd, err := startEtcd(folder)
		if err != nil {
			ended <- fmt.Errorf("etcd: %w", err)
			return
		}
		go func() { ended <- fmt.Errorf("etcd: %w", <-etcd.Err()) }()
		if err := runAPIServer(flags); err != nil {
			ended <- fmt.Errorf("kube-apiserver: %w", err)
			return
		}
		ended <- errors.New("kube-apiserver stopped")
	}()

	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

func startEtcd(folder *folder) (*embed.Etcd, error) {
	client, err := url.Parse(folder.etcd())
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Dir = folder.path("etcd")
	config.ListenClientUrls = []url.URL{*client}
	// There are no peers. The addresses which are still advertised are names.
	config.ListenPeerUrls = nil
	config.UnsafeNoFsync = true
	config.EnableGRPCGateway = false
	config.LogLevel = "warn"

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	}
}

func runAPIServer(arguments []string) error {
	command := apiserver.NewAPIServerCommand()
	command.SetArgs(arguments)
	return cli.RunNoErrOutput(command)
}

func runEtcd(arguments []string) error {
	etcdmain.Main(append([]string{"etcd"}, arguments...))
	return nil
}

func runKubectl(arguments []string) error {
	os.Args = append([]string{"kubectl"}, arguments...)
	// As in kubectl's own main: the verbosity counts while the command is built.
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	kubectlerrors.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	return nil
}

// takeTerminal keeps the terminal for serve and sends what everything else in
// this process prints to log, a panic included.
func takeTerminal(log *os.File) (terminal, error) {
	out, err := unix.Dup(unix.Stdout)
	if err != nil {
		return terminal{}, fmt.Errorf("keep standard output: %w", err)
	}
	problems, err := unix.Dup(unix.Stderr)
	if err != nil {
		return terminal{}, fmt.Errorf("keep standard error: %w", err)
	}
	for _, standard := range []int{unix.Stdout, unix.Stderr} {
		if err := unix.Dup2(int(log.Fd()), standard); err != nil {
			return terminal{}, fmt.Errorf("redirect to %s: %w", log.Name(), err)
		}
	}
	return terminal{os.NewFile(uintptr(out), "stdout"), os.NewFile(uintptr(problems), "stderr")}, nil
}
