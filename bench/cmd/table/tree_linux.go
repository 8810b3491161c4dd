package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
)

// treeScript is a command of many members that ignore SIGTERM: $1 groups of $2.
// They are shells that wait for the end of the standard input, so they end with
// this program, however it ends. Each group writes a line when it is there. The
// leader's own line is the last one that it writes.
const treeScript = `
trap "" TERM
exec 3<&0
groups=$1
while [ $groups -gt 0 ]; do
	(
		members=$2
		while [ $members -gt 1 ]; do
			read x <&3 &
			members=$((members-1))
		done
		echo
		read x <&3
	) &
	groups=$((groups-1))
done
echo
read x <&3
wait
`

// treeArgv returns a command with n members, and the number of lines that it
// writes.
func treeArgv(n int) (argv []string, lines int) {
	groups, members := 1, n-1
	switch {
	case n == 1:
		groups = 0
	case n > 100:
		groups, members = n/100, 100
	}
	return []string{"sh", "-c", treeScript, "sh", strconv.Itoa(groups), strconv.Itoa(members)}, groups + 1
}

// trees are processes that have all been started.
type trees struct {
	life *os.File // its end ends them
	out  *os.File // its end says that all are gone
}

// grow calls start, and waits for the lines by which the processes say that they
// are there.
func grow(lines int, start func(stdin, stdout *os.File) error) (*trees, error) {
	stdin, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		life.Close()
		return nil, err
	}
	t := &trees{life, out}
	err = start(stdin, stdout)
	stdout.Close()
	in := bufio.NewReader(out)
	for range lines {
		if err != nil {
			break
		}
		if _, err = in.ReadString('\n'); err != nil {
			err = fmt.Errorf("the processes are not all there: %w", err)
		}
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// waitGone returns when no process is left.
func (t *trees) waitGone() error {
	_, err := io.Copy(io.Discard, t.out)
	return err
}

func (t *trees) close() {
	t.life.Close()
	t.out.Close()
}
