// Command cluster is a Kubernetes API server for tests: etcd, kube-apiserver
// and kubectl in one program. This file only finds out which of them is asked
// for; serve.go has the rest.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const usage = `usage:
  cluster serve --dir DIR [--stop-on-stdin-eof] [-- kube-apiserver flags...]
  cluster kubectl ...`

func main() {
	// A symbolic link named like a Kubernetes program is that program: a folder
	// of such links is what envtest calls KUBEBUILDER_ASSETS.
	if run, known := programs[filepath.Base(os.Args[0])]; known {
		exit(run(os.Args[1:]))
	}
	if len(os.Args) < 2 {
		exit(fmt.Errorf("no command given\n%s", usage))
	}

	command, arguments := os.Args[1], os.Args[2:]
	if command == "serve" {
		exit(serve(arguments))
	}
	run, known := programs[command]
	if !known {
		exit(fmt.Errorf("unknown command %q\n%s", command, usage))
	}
	exit(run(arguments))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}
