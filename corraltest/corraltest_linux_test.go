package corraltest_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corral-run/corral/corraltest"
)

// caseVariable names, in a test binary that a test has started, what TestInner does.
const caseVariable = "CORRALTEST_CASE"

func TestMain(m *testing.M) {
	if os.Getenv(caseVariable) != "" {
		corraltest.NoLeaks(m)
	}
	os.Exit(m.Run())
}

// TestInner is the test that the others run and look at.
func TestInner(t *testing.T) {
	name := os.Getenv(caseVariable)
	if name == "" {
		t.Skip("runs in a test binary that other tests start")
	}
	serve := func() {
		cmd := corraltest.Command(t, "sh", "-c", "echo serving; sleep 60 & wait")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	switch name {
	case "stopped":
		serve()
	case "fails":
		serve()
		t.FailNow()
	case "leftover":
		corraltest.Command(t, "sh", "-c", "sh -c 'sleep 60; :' & exit 0").Run()
	case "unstarted":
		corraltest.Command(t, "sleep", "60")
	case "bubble":
		synctest.Test(t, func(t *testing.T) { corraltest.Command(t, "true") })
	case "bare":
		exec.Command("sleep", "60").Start()
	case "cleared":
		os.Clearenv()
		exec.Command("/bin/sleep", "60").Start()
	case "panic":
		exec.Command("sleep", "60").Start()
		go panic("in a goroutine")
		select {}
	case "timeout":
		serve()
		exec.Command("sleep", "60").Start()
		select {}
	case "exit":
		serve()
		exec.Command("sleep", "60").Start()
		os.Exit(3)
	case "killed":
		serve()
		exec.Command("sleep", "60").Start()
		p, _ := os.FindProcess(os.Getpid())
		p.Kill()
		select {}
	}
}

// TestEndings: nothing is left, however the tests end, and what is wrong is said.
func TestEndings(t *testing.T) {
	for _, tt := range []struct {
		name, state string
		says        []string
	}{
		{"stopped", "exit status 0", []string{"PASS"}},
		{"unstarted", "exit status 0", []string{"PASS"}},
		{"fails", "exit status 1", []string{"output:", "serving", "ended by SIGTERM"}},
		{"leftover", "exit status 1", []string{"2 processes behind", "sh -c sleep 60; :", "      ", "stopped by SIGTERM"}},
		{"bubble", "exit status 1", []string{"a command cannot run in a synctest bubble"}},
		{"bare", "exit status 1", []string{"PASS", "the test binary has left a process behind", "sleep 60"}},
		{"cleared", "exit status 1", []string{"PASS", "the test binary has left a process behind"}},
		{"panic", "exit status 2", []string{"panic: in a goroutine", "has left a process behind"}},
		{"timeout", "exit status 2", []string{"panic: test timed out", "sleep 60"}},
		{"exit", "exit status 3", []string{"sleep 60"}},
		{"killed", "signal: killed", []string{"sleep 60"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd := exec.Command(os.Args[0], "-test.run=^TestInner$", "-test.v", "-test.timeout=2s")
			cmd.Env = append(os.Environ(), caseVariable+"="+tt.name)
			cmd.ExtraFiles = []*os.File{w} // all that is started holds it
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			cmd.Run()
			w.Close()
			r.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadAll(r); err != nil {
				t.Errorf("something is left: %v", err)
			}
			if got := cmd.ProcessState.String(); got != tt.state {
				t.Errorf("%s, want %s", got, tt.state)
			}
			for _, want := range tt.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if t.Failed() {
				t.Logf("%s", out.String())
			}
		})
	}
}
