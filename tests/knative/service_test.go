package knative

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// service is the program as it serves, until the test ends.
type service struct {
	url   string
	mutex sync.Mutex
	log   strings.Builder
}

// served starts it with these variables, and answers when it listens.
func served(t *testing.T, environment ...string) *service {
	t.Helper()
	command := exec.Command(program(t))
	command.Env = slices.Concat(environment, []string{"HOST=127.0.0.1", "PORT=0", "METRICS_PORT=0"})
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	it, port := &service{}, make(chan int, 1)
	go it.reads(bufio.NewScanner(log), port)
	select {
	case port, listens := <-port:
		if !listens {
			t.Fatalf("it does not listen:\n%s", it.logged())
		}
		it.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	case <-time.After(time.Minute):
		t.Fatalf("it does not listen:\n%s", it.logged())
	}
	return it
}

// reads keeps the log, and sends the port when it is there.
func (s *service) reads(lines *bufio.Scanner, port chan<- int) {
	defer close(port)
	for lines.Scan() {
		var line struct {
			Message string
			Port    int
		}
		_ = json.Unmarshal(lines.Bytes(), &line)
		s.mutex.Lock()
		s.log.WriteString(lines.Text() + "\n")
		s.mutex.Unlock()
		if line.Message == "listening" {
			port <- line.Port
		}
	}
}

func (s *service) logged() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.log.String()
}

// says waits for a line, which is read a moment after the answer.
func (s *service) says(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(s.logged(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not say %q:\n%s", text, s.logged())
		}
	}
}
