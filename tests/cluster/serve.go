// The command "serve": from a folder to a ready API server, and to its end.
// What runs behind `run` is in embedded.go, or in assets.go under the tag
// "assets".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const readyTimeout = 60 * time.Second

func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of this cluster; made on the first run, used again on later ones")
	stopOnEOF := flags.Bool("stop-on-stdin-eof", false, "stop when standard input ends")
	if err := flags.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("serve: --dir is missing")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *stopOnEOF {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}

	folder, err := openFolder(*dir)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer folder.Close()
	terminal, err := takeTerminal(folder.log)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}

	if err := serveFolder(ctx, folder, flags.Args(), terminal.out); err != nil {
		oneLine := strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Fprintf(folder.log, "cluster: %s\n", oneLine)
		fmt.Fprintf(terminal.err, "cluster: %s; see %s\n", oneLine, folder.path("cluster.log"))
		os.Exit(1)
	}
	return nil
}

// terminal is where our own few words go, whatever the servers print.
type terminal struct{ out, err *os.File }

// serveFolder returns nil when ctx ends it, and an error when anything else
// does. Nothing is drained: a test that stops its cluster wants it gone, and
// etcd has handed every acknowledged write to the kernel by then.
func serveFolder(ctx context.Context, folder *folder, extra []string, out io.Writer) error {
	if err := waitForPort(ctx, folder.Port); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer func() {
		stop()
		running.Wait()
	}()
	ended, ready := make(chan error, 1), make(chan error, 1)
	running.Go(func() { ended <- run(ctx, folder, append(apiserverFlags(folder), extra...)) })
	running.Go(func() { ready <- waitUntilReady(ctx, folder) })

	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("ended by itself: %w", err)
		case <-timeout.C:
			return fmt.Errorf("not ready after %s", readyTimeout)
		case err := <-ready:
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			timeout.Stop()
			ready = nil
			fmt.Fprintln(out, folder.path("kubeconfig"))
		}
	}
}
