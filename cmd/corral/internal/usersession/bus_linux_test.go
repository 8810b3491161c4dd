package usersession

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// fake is a systemd manager, with a bus in between or not, that does what a test
// wants of it.
type fake struct {
	t    *testing.T
	dir  string
	bus  bool
	does func(*fakeLine, *dbus.Message) // with a call of the manager's methods

	mu      sync.Mutex
	unit    string // in which the caller is, empty: in its session
	matches []string
	removed chan string // if it is there, the matches that are not wanted any more
	open    []io.Closer
	ended   bool
	serving sync.WaitGroup
}

// fakeLine is a connection that the fake has.
type fakeLine struct {
	*fake
	net.Conn
	serial uint32
}

const session = "/cg/user.slice/user-7.slice/session-1.scope"

// newFake returns a manager that listens, and the entrance that leads to it.
func newFake(t *testing.T, bus bool, does func(*fakeLine, *dbus.Message)) (*fake, *entrance) {
	t.Helper()
	f := &fake{t: t, dir: runtimeDir(t), bus: bus, does: does}
	t.Cleanup(f.end)
	name := "systemd/private"
	if bus {
		name = "bus"
	}
	f.listen(name, f.serve)
	return f, f.entrance()
}

// runtimeDir is a directory as /run/user/UID is one. Its name is short: a socket's may
// have a hundred bytes.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// listen has each connection to a socket served, until the test is over.
func (f *fake) listen(name string, serve func(net.Conn)) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.open = append(f.open, conn)
			if f.ended {
				conn.Close()
			}
			f.mu.Unlock()
			f.serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	f.mu.Lock()
	f.open = append(f.open, l)
	f.mu.Unlock()
}

// end ends all that listen closes.
func (f *fake) end() {
	f.mu.Lock()
	f.ended = true
	for _, c := range f.open {
		c.Close()
	}
	f.mu.Unlock()
	f.serving.Wait()
}

// entrance has more patience than there is: a fake on a slow machine does not hang.
func (f *fake) entrance() *entrance {
	return &entrance{dir: f.dir, uid: os.Geteuid(), own: f.own, aside: func(dir string) (string, error) { return dir + "/main", nil }, patience: time.Minute}
}

func (f *fake) own() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unit == "" {
		return session, nil
	}
	return "/cg/user.slice/user-7.slice/user@7.service/app.slice/" + f.unit, nil
}

func (f *fake) moved(unit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unit = unit
}

// serve is the server's side of a connection: see "Authentication Protocol" in the
// D-Bus Specification.
func (f *fake) serve(conn net.Conn) {
	if !authenticate(conn) {
		return
	}
	l := &fakeLine{fake: f, Conn: conn}
	for {
		msg, err := dbus.DecodeMessage(conn)
		if err != nil {
			return
		}
		member, _ := msg.Headers[dbus.FieldMember].Value().(string)
		switch member {
		case "Hello":
			if !f.bus {
				f.t.Error("a manager without a bus is greeted as a bus")
			}
			l.reply(msg, ":1.7")
		case "AddMatch":
			f.matches = append(f.matches, fmt.Sprint(msg.Body...))
			l.reply(msg)
		case "RemoveMatch":
			if f.removed != nil {
				f.removed <- fmt.Sprint(msg.Body...)
			}
		default:
			f.does(l, msg)
		}
	}
}

func authenticate(conn net.Conn) bool {
	// Byte by byte, so that nothing of the messages is read.
	in := bufio.NewReaderSize(oneByOne{conn}, 16)
	if b, err := in.ReadByte(); err != nil || b != 0 {
		return false
	}
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return false
		case line == "AUTH\r\n":
			io.WriteString(conn, "REJECTED EXTERNAL\r\n")
		case line == "AUTH EXTERNAL\r\n":
			io.WriteString(conn, "DATA\r\n")
		case line == "DATA\r\n": // nothing but the credentials of the socket
			io.WriteString(conn, "OK 0123456789abcdef0123456789abcdef\r\n")
		case line == "BEGIN\r\n":
			return true
		default:
			io.WriteString(conn, "ERROR\r\n")
		}
	}
}

type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }

func (l *fakeLine) send(kind dbus.Type, headers map[dbus.HeaderField]dbus.Variant, body ...any) {
	l.serial++
	msg := &dbus.Message{Type: kind, Headers: headers, Body: body}
	if len(body) > 0 {
		headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(body...))
	}
	if l.bus {
		headers[dbus.FieldSender] = dbus.MakeVariant(":1.0")
		headers[dbus.FieldDestination] = dbus.MakeVariant(":1.7")
	}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, binary.LittleEndian); err != nil {
		l.t.Error(err)
		return
	}
	const serialAt = 8 // see "Message Format" in the D-Bus Specification
	binary.LittleEndian.PutUint32(b.Bytes()[serialAt:], l.serial)
	l.Write(b.Bytes())
}

func (l *fakeLine) reply(to *dbus.Message, body ...any) {
	l.send(dbus.TypeMethodReply, map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(to.Serial())}, body...)
}

func (l *fakeLine) refuse(to *dbus.Message, name, text string) {
	l.send(dbus.TypeError, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial()), dbus.FieldErrorName: dbus.MakeVariant(name),
	}, text)
}

func (l *fakeLine) signal(name string, body ...any) {
	dot := strings.LastIndexByte(name, '.')
	l.send(dbus.TypeSignal, map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(managerPath), dbus.FieldInterface: dbus.MakeVariant(name[:dot]), dbus.FieldMember: dbus.MakeVariant(name[dot+1:]),
	}, body...)
}
