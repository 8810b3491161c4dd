package corraltest_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral/corraltest"
)

// A test binary that a test has started does what these variables say: TestInner a case,
// or nothing but a part.
const (
	caseVariable = "CORRALTEST_CASE"
	partVariable = "CORRALTEST_PART"
)

func TestMain(m *testing.M) {
	switch os.Getenv(partVariable) {
	case "stay":
		fmt.Println("staying")
		time.Sleep(time.Minute)
		os.Exit(0)
	case "leave":
		if err := part("stay").Start(); err != nil {
			fmt.Println(err)
			os.Exit(70)
		}
		os.Exit(0)
	}
	if os.Getenv(caseVariable) != "" {
		corraltest.NoLeaks(m)
	}
	os.Exit(m.Run())
}

// part is this program in a part. It holds what the test's own output goes to.
func part(name string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), partVariable+"="+name)
	cmd.Stdout = os.Stdout
	return cmd
}

// TestInner is the test that TestEndings runs and looks at.
func TestInner(t *testing.T) {
	name := os.Getenv(caseVariable)
	if name == "" {
		return // in a test binary of its own, see TestEndings
	}
	// ours is a command of the test's in a part.
	ours := func(name string) error {
		cmd := corraltest.Command(t, os.Args[0])
		cmd.Env = append(os.Environ(), partVariable+"="+name)
		cmd.Stderr = os.Stdout // which what is left would hold
		if name == "leave" {
			cmd.Stdout = os.Stdout
			return cmd.Run()
		}
		return cmd.Start()
	}
	var err error
	switch name {
	case "stopped":
		err = ours("stay")
	case "leftover":
		err = ours("leave")
	case "bare":
		err = part("stay").Start()
	case "exit":
		if err = part("stay").Start(); err == nil {
			os.Exit(3)
		}
	case "killed":
		if err = part("stay").Start(); err == nil {
			p, _ := os.FindProcess(os.Getpid())
			p.Kill()
			select {}
		}
	case "timeout":
		if err = ours("stay"); err == nil {
			select {}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestEndings: nothing is left, however the tests end, and what is wrong is said.
func TestEndings(t *testing.T) {
	const left = "the test binary has left a process behind:"
	for _, tt := range []struct {
		name, state string
		says        []string
		args        []string
		silent      bool
	}{
		{name: "stopped", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "leftover", state: "exit status 1", says: []string{"has left a process behind:\n", "--- FAIL: TestInner"}},
		{name: "bare", state: "exit status 1", says: []string{"PASS", left}},
		{name: "exit", state: "exit status 3", says: []string{left}},
		{name: "killed", state: "exit status 1", says: []string{left}},
		{name: "timeout", state: "exit status 2", says: []string{"panic: test timed out"}, args: []string{"-test.timeout=1s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestInner$", "-test.v", "-test.timeout=20s"}, tt.args...)...)
			cmd.Env = append(os.Environ(), caseVariable+"="+tt.name)
			cmd.Stdout, cmd.Stderr = w, w
			err = cmd.Start()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			all := make(chan string, 1)
			go func() {
				text, _ := io.ReadAll(r)
				all <- string(bytes.ReplaceAll(text, []byte("\r"), nil))
			}()
			cmd.Wait()
			var out string
			select {
			case out = <-all: // nobody holds the pipe
			case <-time.After(20 * time.Second):
				t.Fatal("something is left")
			}
			if state := cmd.ProcessState.String(); state != tt.state {
				t.Errorf("%s, want %s", state, tt.state)
			}
			for _, want := range tt.says {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if tt.silent && strings.Contains(out, "corraltest:") {
				t.Error("corraltest has said something")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}
