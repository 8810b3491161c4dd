package usersession

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

const job = dbus.ObjectPath("/org/freedesktop/systemd1/job/9")

// obliges starts a scope, tells of another job before, and answers about its own.
func obliges(result string) func(*fakeLine, *dbus.Message) {
	return func(l *fakeLine, msg *dbus.Message) {
		unit := msg.Body[0].(string)
		l.signal(jobRemoved, uint32(8), dbus.ObjectPath("/org/freedesktop/systemd1/job/8"), "other.scope", "failed")
		l.reply(msg, job)
		if result == "done" {
			l.moved(unit)
		}
		l.signal(jobRemoved, uint32(9), job, unit, result)
	}
}

var request = Request{Description: "a test", StopTimeout: 90 * time.Second}

// TestEnter: what the manager is asked for, and what comes of it.
func TestEnter(t *testing.T) {
	for _, bus := range []bool{true, false} {
		t.Run(fmt.Sprintf("bus %v", bus), func(t *testing.T) {
			t.Parallel()
			asked := make(chan *dbus.Message, 1)
			f, e := newFake(t, bus, func(l *fakeLine, msg *dbus.Message) {
				asked <- msg
				obliges("done")(l, msg)
			})
			s, err := e.enter(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if want := "/cg/user.slice/user-7.slice/user@7.service/app.slice/" + s.Unit + "/main"; s.Path != want || s.Asks != bus {
				t.Errorf("%+v; want the path %s", s, want)
			}
			msg := <-asked
			if name := regexp.MustCompile(fmt.Sprintf(`^corral-%d-[0-9a-f]{8}\.scope$`, os.Getpid())); !name.MatchString(s.Unit) || msg.Body[0] != s.Unit || msg.Body[1] != "fail" {
				t.Errorf("unit %q, asked for %v", s.Unit, msg.Body)
			}
			got := make(map[string]string)
			for _, p := range msg.Body[2].([][]any) {
				got[p[0].(string)] = p[1].(dbus.Variant).String()
			}
			want := map[string]string{
				"Description": `"a test"`, "PIDs": "@au [0]", "Delegate": "true", "CollectMode": `"inactive-or-failed"`,
				"TimeoutStopUSec": "@t 90000000", "SendSIGHUP": "false",
			}
			if bus {
				want["Controller"], want["After"] = `":1.7"`, `["dbus.service"]`
			}
			for name := range want {
				if got[name] != want[name] {
					t.Errorf("%s: %s; want %s", name, got[name], want[name])
				}
			}
			if len(got) != len(want) {
				t.Errorf("properties: %v; want %v", got, want)
			}
			if bus != (len(f.matches) == 1) {
				t.Errorf("match rules: %q", f.matches)
			}
		})
	}
}

// TestUnitName: no two are the same.
func TestUnitName(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		seen[unitName()] = true
	}
	if len(seen) < 100 {
		t.Errorf("%d names of 100", len(seen))
	}
}

// TestRefusals: the error says what is wrong, and where; what is not there at all is
// Unavailable.
func TestRefusals(t *testing.T) {
	refuses := func(l *fakeLine, msg *dbus.Message) {
		l.refuse(msg, "org.freedesktop.DBus.Error.AccessDenied", "the manager will not have it")
	}
	for _, tt := range []struct {
		name        string
		does        func(*fakeLine, *dbus.Message)
		change      func(*fake, *entrance)
		want        string
		unavailable bool
	}{
		{name: "refused", does: refuses, want: "/bus: the manager will not have it"},
		{name: "job failed", does: obliges("failed"), want: "corral-"},
		{name: "not moved", does: func(l *fakeLine, msg *dbus.Message) {
			l.reply(msg, job)
			l.signal(jobRemoved, uint32(9), job, msg.Body[0].(string), "done")
		}, want: "but this process is in " + session},
		{name: "ends", does: func(l *fakeLine, _ *dbus.Message) { l.Close() }, want: "/bus: "},
		{name: "ends later", does: func(l *fakeLine, msg *dbus.Message) { l.reply(msg, job); l.Close() }, want: "/bus: the connection was closed"},
		{name: "another answer", does: func(l *fakeLine, msg *dbus.Message) { l.reply(msg, "yes") },
			change: func(_ *fake, e *entrance) { e.patience = time.Second }, want: "/bus: "},
		{name: "no runtime directory", change: func(_ *fake, e *entrance) { e.dir = "" }, want: "XDG_RUNTIME_DIR is not set", unavailable: true},
		{name: "runtime directory is gone", change: func(_ *fake, e *entrance) { e.dir += "/gone" }, want: "/gone: no such file", unavailable: true},
		{name: "relative", change: func(_ *fake, e *entrance) { e.dir = "run" }, want: "XDG_RUNTIME_DIR=run: it must be an absolute path"},
		{name: "another user's", change: func(_ *fake, e *entrance) { e.uid++ }, want: fmt.Sprintf("it belongs to user %d, not to %d", os.Geteuid(), os.Geteuid()+1)},
		{name: "writable", change: func(f *fake, _ *entrance) { os.Chmod(f.dir, 0o770) }, want: "others may write to it"},
		{name: "symbolic link", change: func(f *fake, e *entrance) {
			e.dir = filepath.Join(f.dir, "link")
			os.Symlink(f.dir, e.dir)
		}, want: "/link: not a directory"},
		{name: "nobody listens", change: func(f *fake, _ *entrance) { os.Remove(filepath.Join(f.dir, "bus")) },
			want: "no systemd manager for this user: ", unavailable: true},
		{name: "no socket", change: func(f *fake, _ *entrance) {
			os.Remove(filepath.Join(f.dir, "bus"))
			os.WriteFile(filepath.Join(f.dir, "bus"), nil, 0o600)
		}, want: "/bus: connection refused", unavailable: true},
		{name: "a service", change: func(f *fake, e *entrance) {
			e.own = func() (string, error) { return "/cg/system.slice/cron.service", nil }
		}, want: "/cg/system.slice/cron.service is not the control group of a login session", unavailable: true},
		{name: "no control group", change: func(f *fake, e *entrance) {
			e.own = func() (string, error) { return "", errors.New("none here") }
		}, want: "none here", unavailable: true},
		{name: "no place aside", does: obliges("done"), change: func(f *fake, e *entrance) {
			e.aside = func(dir string) (string, error) { return "", errors.New("no place in " + filepath.Base(dir)) }
		}, want: "no place in corral-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, e := newFake(t, true, tt.does)
			if tt.change != nil {
				tt.change(f, e)
			}
			s, err := e.enter(t.Context(), request)
			if s != nil || err == nil {
				t.Fatalf("%+v, %v", s, err)
			}
			var u *Unavailable
			if errors.As(err, &u) != tt.unavailable || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "/proc/self") {
				t.Errorf("%q, of type %T; want %q, unavailable: %v", err, err, tt.want, tt.unavailable)
			}
		})
	}
}

// TestHang: whatever a manager does not do, it holds nobody up for much longer than
// the patience that there is for it.
func TestHang(t *testing.T) {
	waits := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	for name, serve := range map[string]func(*fake, net.Conn){
		"says nothing": func(_ *fake, conn net.Conn) { waits(conn) },
		"knows no bus": func(_ *fake, conn net.Conn) { authenticate(conn); waits(conn) },
		"has no end":   func(_ *fake, conn net.Conn) { go waits(conn); io.Copy(conn, endless("OK ")) },
		"is garbage": func(_ *fake, conn net.Conn) {
			if authenticate(conn) {
				go waits(conn)
				io.Copy(conn, endless("l\x02\x01\x01\xff\xff\xff\x07"))
			}
		},
		"is no protocol": func(_ *fake, conn net.Conn) { go waits(conn); io.Copy(conn, endless("\r\n\x00")) },
		"does nothing":   func(f *fake, conn net.Conn) { f.serve(conn) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{t: t, dir: runtimeDir(t), bus: true, does: func(*fakeLine, *dbus.Message) {}}
			t.Cleanup(f.end)
			f.listen("bus", func(conn net.Conn) { serve(f, conn) })
			began, e := time.Now(), f.entrance()
			e.patience = time.Second
			s, err := e.enter(t.Context(), request)
			if s != nil || err == nil {
				t.Fatalf("%+v, %v", s, err)
			}
			var u *Unavailable
			// The machine may be slow, too.
			if took := time.Since(began); took > 10*time.Second || errors.As(err, &u) || !strings.Contains(err.Error(), f.dir+"/bus: ") {
				t.Errorf("%v after %v", err, took)
			}
			t.Log(err)
		})
	}
}

// endless repeats a text for ever.
type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e)
	}
	return n, nil
}

// TestPrivate: a bus that does not work does not keep corral from the manager, and is
// told of if that is not there either.
func TestPrivate(t *testing.T) {
	t.Parallel()
	f, e := newFake(t, false, obliges("done"))
	f.listen("bus", func(conn net.Conn) { conn.Close() })
	s, err := e.enter(t.Context(), request)
	if err != nil || s.Asks {
		t.Fatalf("%+v, %v", s, err)
	}
	s.Close()
	f, e = newFake(t, true, obliges("done"))
	e.uid = os.Geteuid()
	os.Remove(filepath.Join(f.dir, "bus"))
	f.listen("bus", func(conn net.Conn) { io.WriteString(conn, "NO\r\n") })
	if s, err := e.enter(t.Context(), request); err == nil || !strings.Contains(err.Error(), "/bus: ") {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestRequestStop: the manager asks the owner, as often as it likes, also when the
// time limit of the start is over; other signals ask for nothing.
func TestRequestStop(t *testing.T) {
	t.Parallel()
	started := make(chan *fakeLine, 1)
	_, e := newFake(t, true, func(l *fakeLine, msg *dbus.Message) {
		obliges("done")(l, msg)
		started <- l
	})
	asked := make(chan struct{}, 8)
	r := request
	r.Stop = func() { asked <- struct{}{} }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // enough to enter on a slow machine
	defer cancel()
	s, err := e.enter(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	l := <-started
	l.signal(jobRemoved, uint32(9), job, s.Unit, "done")
	for range 2 {
		l.signal(requestStop)
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Fatal("it was not asked")
		}
	}
	s.Close()
	if len(asked) != 0 {
		t.Error("it was asked once more")
	}
}

// TestOtherJobs: a scope that is there does not want to hear of the manager's other jobs,
// and however often it does, it hears that it is to end.
func TestOtherJobs(t *testing.T) {
	t.Parallel()
	lines := make(chan *fakeLine, 1)
	f, e := newFake(t, true, func(l *fakeLine, msg *dbus.Message) {
		obliges("done")(l, msg)
		lines <- l
	})
	f.removed = make(chan string, 1)
	asked := make(chan struct{}, 1)
	r := request
	r.Stop = func() { asked <- struct{}{} }
	s, err := e.enter(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := <-lines
	unit := strings.Repeat("x", 10_000) + ".scope"
	for range 2 * mostBytes / len(unit) {
		l.signal(jobRemoved, uint32(8), dbus.ObjectPath("/org/freedesktop/systemd1/job/8"), unit, "done")
	}
	l.signal(requestStop)
	for what, c := range map[string]func() any{"to end": func() any { return <-asked }, "no more": func() any { return <-f.removed }} {
		heard := make(chan any, 1)
		go func() { heard <- c() }()
		select {
		case got := <-heard:
			if what == "no more" && got != f.matches[0] {
				t.Errorf("%s; want %s", got, f.matches[0])
			}
		case <-time.After(time.Minute):
			t.Errorf("it has not heard or said: %s", what)
		}
	}
}

func TestControllers(t *testing.T) {
	t.Parallel()
	_, e := newFake(t, true, func(l *fakeLine, msg *dbus.Message) {
		if fmt.Sprint(msg.Body) != "[org.freedesktop.systemd1.Manager ControlGroup]" {
			l.refuse(msg, "org.freedesktop.DBus.Error.UnknownProperty", fmt.Sprint(msg.Body))
			return
		}
		l.reply(msg, dbus.MakeVariant("/user@7.service"))
	})
	mount := t.TempDir()
	if got, err := e.controllers(t.Context(), mount); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the directory: %q, %v", got, err)
	}
	os.Mkdir(filepath.Join(mount, "user@7.service"), 0o700)
	os.WriteFile(filepath.Join(mount, "user@7.service", "cgroup.controllers"), []byte("memory pids\n"), 0o600)
	if got, err := e.controllers(t.Context(), mount); err != nil || !slices.Equal(got, []string{"memory", "pids"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCheckSession(t *testing.T) {
	for own, may := range map[string]bool{
		"/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope":                               true,
		"/sys/fs/cgroup/user.slice/user-0.slice/session-c1.scope":                                 true,
		"/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope/below":                         false,
		"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/corral-1-0f.scope": false,
		"/sys/fs/cgroup/system.slice/session-3.scope":                                             false,
		"/sys/fs/cgroup/system.slice/cron.service":                                                false,
		"/sys/fs/cgroup": false,
	} {
		if err := checkSession(own); (err == nil) != may {
			t.Errorf("%s: %v", own, err)
		}
	}
}

func TestMicroseconds(t *testing.T) {
	for d, want := range map[time.Duration]uint64{0: 0, time.Second: 1e6, math.MaxInt64: math.MaxUint64, math.MaxInt64 - 1: math.MaxInt64 / 1000} {
		if got := microseconds(d); got != want {
			t.Errorf("%v: %d; want %d", d, got, want)
		}
	}
}
