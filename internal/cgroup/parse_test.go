package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	hybrid = `24 30 0:22 / /proc rw,nosuid - proc proc rw
31 24 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	unified = `22 1 259:2 / / rw shared:1 - ext4 /dev/nvme0n1p2 rw
29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate
`
	bound = `29 23 0:26 /user.slice/user-1000.slice /mnt/user ro - cgroup2 cgroup2 rw
30 23 0:26 /user.slice /mnt/users rw - cgroup2 none rw
`
	blank = "29 23 0:26 /a\\040b\\134c /mnt/with\\040blank\\011\v\u00a0 rw - cgroup2 cgroup2 rw\n"
)

func TestCandidates(t *testing.T) {
	const none = errorText("")
	for name, test := range map[string]struct {
		mountinfo, membership string
		want                  []string
		text                  errorText
	}{
		"hybrid":         {hybrid, "5:devices:/x\n0::/\n", []string{"/sys/fs/cgroup/unified"}, none},
		"hybrid, below":  {hybrid, "1:cpu:/y\n0::/a/b\n", []string{"/sys/fs/cgroup/unified/a/b"}, none},
		"unified":        {unified, "0::/user.slice/s.scope\n", []string{"/sys/fs/cgroup/user.slice/s.scope"}, none},
		"no newline":     {strings.TrimSpace(unified), "0::/x", []string{"/sys/fs/cgroup/x"}, none},
		"namespace root": {unified, "0::/\n", []string{"/sys/fs/cgroup"}, none},
		"namespace out":  {unified, "0::/../other\n", nil, "/../other is outside of the process's cgroup namespace"},
		"namespace up":   {unified, "0::/..\n", nil, "outside of the process's cgroup namespace"},
		"dots in a name": {unified, "0::/..x\n", []string{"/sys/fs/cgroup/..x"}, none},
		"bound, at root": {bound, "0::/user.slice/user-1000.slice\n", []string{"/mnt/user", "/mnt/users/user-1000.slice"}, none},
		"bound, below":   {bound, "0::/user.slice/user-1001.slice/x\n", []string{"/mnt/users/user-1001.slice/x"}, none},
		"bound, beside":  {bound, "0::/user.slice2\n", nil, "no mount shows /user.slice2"},
		"blanks":         {blank, "0::/a b\\c/d e\n", []string{"/mnt/with blank\t\v\u00a0/d e"}, none},
		"mount outside":  {strings.Replace(unified, "0:26 /", "0:26 /../..", 1), "0::/\n", nil, "no mount shows /"},
		"no mount":       {"24 30 0:22 / /proc rw - proc proc rw\n", "0::/\n", nil, "no cgroup2 file system is mounted"},
		"name of a type": {"24 30 0:22 / /cgroup2 rw - tmpfs cgroup2 rw\n", "0::/\n", nil, "no cgroup2 file system is mounted"},
		"no membership":  {hybrid, "5:devices:/x\n", nil, "in no version 2 cgroup"},
		"version 1 name": {hybrid, "10::/x\n1:name=0::/y:/z\n", nil, "in no version 2 cgroup"},
	} {
		got, err := candidates([]byte(test.mountinfo), []byte(test.membership))
		if !slices.Equal(got, test.want) || !test.text.in(err) {
			t.Errorf("%s: got %q, error %v", name, got, err)
		}
	}
}

// errorText is what an unsupported error must say; the empty one stands for no
// error.
type errorText string

func (text errorText) in(err error) bool {
	if text == "" {
		return err == nil
	}
	return errors.Is(err, errors.ErrUnsupported) && strings.Contains(err.Error(), string(text))
}

func TestParseEvents(t *testing.T) {
	for content, want := range map[string]status{
		"populated 0\nfrozen 0\n":        {},
		"populated 1\nfrozen 0\n":        {populated: true},
		"populated 1\nfrozen 1\n":        {populated: true, frozen: true},
		"populated 1\n":                  {populated: true}, // Linux before 5.2
		"new 7\nfrozen 1\npopulated 0\n": {frozen: true},
	} {
		if got, err := parseEvents([]byte(content)); err != nil || got != want {
			t.Errorf("%q: got %+v, error %v", content, got, err)
		}
	}
	for _, content := range []string{"", "frozen 1\n", "populated \n", "populated 2\n", "populated 10\n"} {
		if got, err := parseEvents([]byte(content)); err == nil {
			t.Errorf("%q: got %+v", content, got)
		}
	}
}

func TestParseProcs(t *testing.T) {
	for content, want := range map[string][]int{
		"":                  nil,
		"1\n":               {1},
		"7\n0\n3\n7\n0\n":   {7, 3, 7},
		"4194304\n":         {4194304},
		"2147483647\n12":    {2147483647, 12},
		"0\n":               nil,
		"0000000000000012 ": {12},
	} {
		if got, err := parseProcs([]byte(content)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, error %v", content, got, err)
		}
	}
	for _, content := range []string{"-1\n", "x\n", "2147483648\n", "1\n12x\n", "99999999999999999999\n"} {
		if got, err := parseProcs([]byte(content)); err == nil {
			t.Errorf("%q: got %v", content, got)
		}
	}
}

// escape writes a path as the kernel does in mountinfo.
func escape(path string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
}

func FuzzParseMounts(f *testing.F) {
	for _, seed := range []string{hybrid, unified, bound, blank, "1 2 3 / / - cgroup2", "1 2 0:1 /\\0 /\\777\\1234\\ - cgroup2 x x\n", " - cgroup2\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		mounts := parseMounts(b)
		if len(mounts) > strings.Count(string(b), " - cgroup2") {
			t.Errorf("%q: got %q", b, mounts)
		}
		for _, m := range mounts {
			line := fmt.Appendf(nil, "1 2 0:3 %s %s rw - cgroup2 x rw\n", escape(m.root), escape(m.point))
			if again := parseMounts(line); !slices.Equal(again, []mount{m}) {
				t.Errorf("%q: got %q, then %q", b, m, again)
			}
		}
	})
}

func FuzzParseMembership(f *testing.F) {
	for _, seed := range []string{"5:devices:/x\n0::/a b\n", "0::/", "0::\n", "10::/x\n", "0::/x (deleted)"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cgroup, ok := parseMembership(b)
		if ok != (cgroup != "") || ok && (cgroup[0] != '/' || strings.Contains(cgroup, "\n") || !strings.Contains(string(b), "0::"+cgroup)) {
			t.Errorf("%q: got %q, %v", b, cgroup, ok)
		}
	})
}

func FuzzParseEvents(f *testing.F) {
	for _, seed := range []string{"populated 1\nfrozen 0\n", "populated 0\nfrozen 1", "frozen 1\n", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		now, err := parseEvents(b)
		if err == nil && !strings.Contains(string(b), "populated ") || now.populated && !strings.Contains(string(b), "populated 1") {
			t.Errorf("%q: got %+v, error %v", b, now, err)
		}
	})
}

func FuzzParseProcs(f *testing.F) {
	for _, seed := range []string{"1\n2\n", "0\n", "x", "\n\n7", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pids, err := parseProcs(b)
		if err != nil && pids != nil {
			t.Errorf("%q: got %v with error %v", b, pids, err)
		}
		for _, pid := range pids {
			if pid <= 0 || !strings.Contains(string(b), fmt.Sprint(pid)) {
				t.Errorf("%q: got %v", b, pids)
			}
		}
	})
}
