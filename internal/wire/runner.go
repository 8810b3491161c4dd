//go:build linux || darwin || freebsd || windows

package wire

import (
	"encoding/base64"
	"errors"
	"strings"
)

// String is s as an argument.
func (s *RunnerSpec) String() string { return base64.RawURLEncoding.EncodeToString(Frame(s)) }

// ParseRunnerSpec is the reverse of String.
func ParseRunnerSpec(text string) (*RunnerSpec, error) {
	s := new(RunnerSpec)
	err := Receive(base64.NewDecoder(base64.RawURLEncoding, strings.NewReader(text)), s, MaxSpec)
	if err != nil {
		return nil, errors.New("cannot read what to run: is the runner of another version?")
	}
	return s, nil
}
