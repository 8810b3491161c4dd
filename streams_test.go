//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// TestOutputLimitOfStreams: each stream has a limit of its own, what goes to the
// same writer has one, and a file is a writer like others.
func TestOutputLimitOfStreams(t *testing.T) {
	const script = "printf 0123456789; printf abcdefghij >&2"
	const out, both = "0123\n... omitting 2 bytes ...\n6789", "0123\n... omitting 12 bytes ...\nghij"
	const err = "abcd\n... omitting 2 bytes ...\nghij"
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			dir := t.TempDir()
			file := func(name string) *os.File {
				f, err := os.Create(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				return f
			}
			text := func(w io.Writer) string {
				switch w := w.(type) {
				case *bytes.Buffer:
					return w.String()
				case *os.File:
					return string(readFile(t, w.Name()))
				}
				return ""
			}
			for _, tt := range []struct {
				name           string
				stdout, stderr io.Writer
				same           bool
			}{
				{"buffers", new(bytes.Buffer), new(bytes.Buffer), false},
				{"one buffer", new(bytes.Buffer), nil, true},
				{"files", file("out"), file("err"), false},
				{"one file", file("both"), nil, true},
			} {
				cmd := contained(cont, "sh", "-c", script)
				cmd.OutputLimit = 8
				cmd.Stdout, cmd.Stderr = tt.stdout, tt.stderr
				wantOut, wantErr, dropped := out, err, int64(4)
				if tt.same {
					cmd.Stderr = tt.stdout
					wantOut, wantErr, dropped = both, "", 12
				}
				err := cmd.Run()
				if gotOut, gotErr := text(tt.stdout), text(tt.stderr); err != nil || gotOut != wantOut || gotErr != wantErr || cmd.Report().OutputDropped != dropped {
					t.Errorf("%s: %q, %q, %v, %d dropped", tt.name, gotOut, gotErr, err, cmd.Report().OutputDropped)
				}
			}
		})
	}
	// What the caller reads is the caller's, and the other stream has its limit.
	cmd := sh(script)
	cmd.OutputLimit = 8
	stdout, perr := cmd.StdoutPipe()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if perr != nil || cmd.Start() != nil {
		t.Fatal(perr)
	}
	got, rerr := io.ReadAll(stdout)
	if werr := cmd.Wait(); rerr != nil || werr != nil || string(got) != "0123456789" || stderr.String() != err || cmd.Report().OutputDropped != 2 {
		t.Errorf("%q, %q, %v, %v, %d dropped", got, &stderr, rerr, werr, cmd.Report().OutputDropped)
	}
}

// TestOutputLimitLive: the first half comes while the command runs; a writer that
// fails is an error, as without a limit; and nobody writes for ever to a file whose
// reader has gone.
func TestOutputLimitLive(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := sh("echo here; read x; echo more")
	cmd.OutputLimit = 10
	cmd.Stdout = w
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, r)
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	w.Close()
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "more\n" {
		t.Errorf("%q, %v", rest, err)
	}

	cmd = sh("printf 0123456789")
	cmd.OutputLimit, cmd.Stdout = 4, failing
	if err := cmd.Run(); err != errCopy {
		t.Errorf("a writer that fails: %v", err)
	}

	if r, w, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd = sh("echo here; while :; do echo more; done")
	cmd.OutputLimit, cmd.Stdout, cmd.Timeout = 4, w, 10*time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(r, make([]byte, 1))
	r.Close()
	if err := cmd.Wait(); cmd.Report().Signal != "SIGPIPE" {
		t.Errorf("no reader: %v, %+v", err, cmd.Report())
	}
}

// TestKeptWrites: a process that has been kept, and writes after Wait more than a
// pipe holds, lives on, and none of it gets to the caller. The goroutine that reads
// it ends when the process does.
func TestKeptWrites(t *testing.T) {
	// Each of the two streams is written to in turn; descriptor 3 says when, 4 how
	// it was. 5 says when the leader may exit.
	const script = "(trap '' TERM; read go <&3; head -c 300000 /dev/zero && head -c 300000 /dev/zero >&2 && echo well >&4; exec >&- 2>&- 4>&-; read stay <&3) 5<&- & echo here; read end <&5"
	modes := map[string]func(t *testing.T, cmd *corral.Cmd) (got func() string){
		"buffers": func(t *testing.T, cmd *corral.Cmd) func() string {
			var out, err bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &err
			return func() string { return out.String() + err.String() }
		},
		"one buffer": func(t *testing.T, cmd *corral.Cmd) func() string {
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			return out.String
		},
		"limited file": func(t *testing.T, cmd *corral.Cmd) func() string {
			f, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			cmd.OutputLimit, cmd.Stdout, cmd.Stderr = 1000, f, f
			return func() string { return string(readFile(t, f.Name())) }
		},
		"pipes": func(t *testing.T, cmd *corral.Cmd) func() string {
			stdout, err := cmd.StdoutPipe()
			stderr, err2 := cmd.StderrPipe()
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			return readBoth(t, stdout, stderr)
		},
	}
	for _, cont := range containments {
		if cont == corral.PIDNS {
			continue // the kernel keeps nothing there
		}
		for name, prepare := range modes {
			t.Run(string(cont)+"/"+name, func(t *testing.T) {
				need(t, cont)
				cmd := contained(cont, "sh", "-c", script)
				keptWrites(t, cmd, prepare(t, cmd))
			})
		}
	}
	t.Run("wrapped", func(t *testing.T) {
		inner := exec.Command("sh", "-c", script)
		stdout, err := inner.StdoutPipe()
		stderr, err2 := inner.StderrPipe()
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		keptWrites(t, corral.Wrap(inner), readBoth(t, stdout, stderr))
	})
}

// readBoth reads the first line, as callers do before Wait. What it returns is to be
// called twice: it returns as soon as there is the line, and when reading has been
// cut.
func readBoth(t *testing.T, stdout, stderr io.Reader) func() string {
	line := make(chan string, 1)
	go func() {
		b := make([]byte, 5)
		io.ReadFull(stdout, b)
		line <- string(b)
		_, err := stdout.Read(b)
		_, err2 := stderr.Read(b)
		line <- fmt.Sprint(errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err2, os.ErrDeadlineExceeded))
	}()
	var text string
	return func() string {
		if text == "" {
			text = <-line
			return text
		}
		if cut := <-line; cut != "true true" {
			t.Errorf("reading was cut: %s", cut)
		}
		return text
	}
}

func keptWrites(t *testing.T, cmd *corral.Cmd, got func() string) {
	t.Helper()
	before, readers := descriptors(t), swallowing() // of other tests' processes, which are about to end
	goes, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	result, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ends, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	defer release.Close()
	defer end.Close()
	cmd.ExtraFiles = []*os.File{goes, w, ends}
	cmd.Leftovers = corral.KeepLeftovers
	cmd.WaitDelay = 50 * time.Millisecond
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	goes.Close()
	w.Close()
	ends.Close()
	_, reads := cmd.Stdout.(*os.File)
	reads = reads && cmd.OutputLimit == 0
	var text string
	if reads {
		text = got() // before the leader ends, as the delay may be over before the caller gets to read
	}
	io.WriteString(end, "\n")
	end.Close()
	if reads {
		got() // the caller has read to where it was cut, before Wait
	}
	err = cmd.Wait()
	rep := cmd.Report()
	if len(rep.Leftovers) != 1 || rep.Leftovers[0].Fate != corral.Kept || rep.Leftovers[0].PID <= 1 {
		t.Fatalf("leftovers %v", rep.Leftovers)
	}
	kept := rep.Leftovers[0].PID
	if err != corral.ErrWaitDelay || runtime.GOOS == "linux" && (len(rep.Holders) == 0 || rep.Holders[0].PID != kept) {
		t.Errorf("Wait: %v, holders %v", err, rep.Holders)
	}
	if !reads {
		text = got()
	}
	if text != "here\n" {
		t.Errorf("output %q", text)
	}
	io.WriteString(release, "\n")
	result.SetReadDeadline(time.Now().Add(20 * time.Second))
	line := make([]byte, 5)
	if _, err := io.ReadFull(result, line); errors.Is(err, os.ErrDeadlineExceeded) {
		syscall.Kill(kept, syscall.SIGKILL) // it has its end, and so is there
		t.Fatal("who was kept cannot write")
	} else if string(line) != "well\n" {
		t.Errorf("%q, %v", line, err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for swallowing() > readers {
		if time.Now().After(deadline) {
			t.Fatal("a goroutine stays")
		}
		time.Sleep(time.Millisecond)
	}
	if _, reads := cmd.Stdout.(*os.File); !reads && got() != "here\n" {
		t.Errorf("output after Wait: %q", got())
	}
	release.Close()
	result.Close()
	for descriptors(t) > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors before, %d after", before, descriptors(t))
		}
		time.Sleep(time.Millisecond)
	}
}

// swallowing is how many goroutines read for processes that have been kept.
func swallowing() int {
	b := make([]byte, 1<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "\ngithub.com/corral-run/corral.swallow(")
}

// TestOutputLimitNoFile: a nil *os.File is no output to be limited.
func TestOutputLimitNoFile(t *testing.T) {
	var none *os.File
	run := func(limit int64) string {
		cmd := corral.Command("echo", "hello")
		cmd.Stdout, cmd.OutputLimit = none, limit
		return fmt.Sprint(cmd.Run())
	}
	if got, want := run(9), run(0); got != want {
		t.Errorf("%s; without a limit %s", got, want)
	}
}
