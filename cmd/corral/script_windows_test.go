package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) { runScripts(t, "testdata/windows") }

var systemCommands map[string]func(ts *testscript.TestScript, neg bool, args []string)

// child is what the scripts let corral run.
func child() {
	leave := flag.Int("leave", 0, "leave so many processes, and print their PIDs")
	status := flag.Uint("exit", 0, "exit with this status")
	stay := flag.Bool("stay", false, "print a line, and do not exit")
	words := flag.Bool("print", false, "print the arguments")
	flag.Parse()
	if *words {
		fmt.Printf("%q\n", flag.Args())
	}
	for range *leave {
		cmd := exec.Command(os.Args[0], "-stay")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = bufio.NewReader(out).ReadString('\n')
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		fmt.Println(cmd.Process.Pid)
	}
	if *stay {
		fmt.Println("staying")
		time.Sleep(lifetime)
	}
	os.Exit(int(*status))
}

// succeed is a command that does nothing.
var succeed = []string{"cmd", "/c", "exit"}
