//go:build linux || darwin || freebsd

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says why runs cannot be registered on this system.
func Supported() error { return nil }

// Dir is a private directory of one user: nobody else but root can get at what is in
// it. It is held open, and all is done in what is open.
type Dir struct {
	f   *os.File
	uid int
}

const subdir = "corral"

// OpenDir opens a private directory of the user, and makes it if it is not there and
// create is true. The directory above is trusted no further than that the user alone
// can have made the directory that is opened.
func OpenDir(path string, uid int, create bool) (*Dir, error) {
	if create {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	// O_NONBLOCK is for a FIFO of somebody else's.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP || err == unix.EMLINK {
		return nil, fmt.Errorf("%s is not a directory, or a symbolic link: remove it", path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d := &Dir{os.NewFile(uintptr(fd), path), uid}
	if err := d.check(); err != nil {
		d.f.Close()
		return nil, err
	}
	return d, nil
}

func (d *Dir) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return &fs.PathError{Op: "stat", Path: d.Path(), Err: err}
	}
	switch {
	case int(st.Uid) != d.uid:
		return fmt.Errorf("%s is owned by user %d, not by user %d", d.Path(), st.Uid, d.uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %#o): make it private with chmod 700", d.Path(), st.Mode&0o777)
	}
	return nil
}

func (d *Dir) fd() int { return int(d.f.Fd()) }

// Path is where the directory was opened.
func (d *Dir) Path() string { return d.f.Name() }

// UID is the user whose directory it is, who alone, beside root, has written what is in
// it.
func (d *Dir) UID() int { return d.uid }

func (d *Dir) Close() error { return d.f.Close() }

// openOwn opens the directory in which this process registers its runs.
func openOwn() (*Dir, error) {
	uid := os.Geteuid()
	path := filepath.Join(os.TempDir(), subdir+"-"+strconv.Itoa(uid))
	if dir := os.Getenv("XDG_RUNTIME_DIR"); isRuntimeDir(dir, uid) {
		path = filepath.Join(dir, subdir)
	}
	return OpenDir(path, uid, true)
}

// Own returns the directory in which this process registers its runs, or why it could
// not.
func Own() (string, error) {
	d, err := openOwn()
	if err != nil {
		return "", err
	}
	defer d.Close()
	// Not by the mode alone: the file system may be one that cannot be written to.
	if err := unix.Faccessat(d.fd(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return "", &fs.PathError{Op: "write to", Path: d.Path(), Err: err}
	}
	return d.Path(), nil
}

// isRuntimeDir reports whether dir may be an XDG_RUNTIME_DIR.
func isRuntimeDir(dir string, uid int) bool {
	var st unix.Stat_t
	return filepath.IsAbs(dir) && unix.Stat(dir, &st) == nil && CheckRuntimeDir(&st, uid) == nil
}

// CheckRuntimeDir says why a directory is not what the XDG Base Directory Specification
// says XDG_RUNTIME_DIR is: the user's own, where others cannot write.
func CheckRuntimeDir(st *unix.Stat_t, uid int) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return unix.ENOTDIR
	case int(st.Uid) != uid:
		return fmt.Errorf("it belongs to user %d, not to %d", st.Uid, uid)
	case st.Mode&0o022 != 0:
		return errors.New("others may write to it")
	}
	return nil
}

// Foreign reports whether what is made at path, with the directories above it, would be
// among the files of another user than root: variables that sudo -E has kept lead there.
func Foreign(path string, uid int) bool {
	var st unix.Stat_t
	for ; unix.Stat(path, &st) == unix.ENOENT && path != filepath.Dir(path); path = filepath.Dir(path) {
	}
	return int(st.Uid) != uid && st.Uid != 0
}

// Dirs opens all directories in which runs of the user may be registered: a process
// without an XDG_RUNTIME_DIR, as one of cron's, has used the temporary directory. One
// that is not there is no error.
func Dirs(uid int) (dirs []*Dir, errs []error) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if uid != os.Geteuid() || !isRuntimeDir(runtime, uid) {
		runtime = "/run/user/" + strconv.Itoa(uid) // pam_systemd(8)
	}
	paths := []string{filepath.Join(os.TempDir(), subdir+"-"+strconv.Itoa(uid))}
	if isRuntimeDir(runtime, uid) {
		paths = append(paths, filepath.Join(runtime, subdir))
	}
	for _, path := range paths {
		d, err := OpenDir(path, uid, false)
		switch {
		case err == nil:
			dirs = append(dirs, d)
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return dirs, errs
}

// Open opens a file of the directory, but no symbolic link.
func (d *Dir) Open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(d.Path(), name), Err: err}
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.Path(), name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != d.uid {
		f.Close()
		return nil, fmt.Errorf("%s is not a file of user %d", f.Name(), d.uid)
	}
	return f, nil
}

// Hold has InUse tell that a file is open, until all who have it from here have closed
// it, or are dead. A file system without locks does not know.
func Hold(f *os.File) { unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) }

// InUse reports whether somebody holds a file.
func (d *Dir) InUse(name string) bool {
	f, err := d.Open(name, unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// mostFile bounds an entry for who writes and who reads it: some kilobytes, and what it
// names may be in the thousands.
const mostFile = 4 << 20

// errStrange says that a file is no entry.
var errStrange = errors.New("it is no entry of a run")

// Read reads an entry. The error is errStrange if the file is something else.
func (d *Dir) Read(name string) (*Entry, error) {
	f, err := d.Open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostFile+1))
	if err != nil {
		return nil, err
	}
	var e Entry
	id, _, _ := strings.Cut(name, ".")
	if len(b) > mostFile || json.Unmarshal(b, &e) != nil || e.ID != id || e.Version < 1 || e.Owner.PID <= 0 {
		return nil, fmt.Errorf("%s: %w", f.Name(), errStrange)
	}
	return &e, nil
}

// Write writes an entry, as a whole or not at all.
func (d *Dir) Write(name string, e *Entry) error { return d.write(name, e, 0) }

// endRoom is more than what Complete adds to an entry.
const endRoom = 512

// WriteRoomy is Write that leaves room in the file, for Complete.
func (d *Dir) WriteRoomy(name string, e *Entry) error { return d.write(name, e, endRoom) }

func (d *Dir) write(name string, e *Entry, room int) error {
	b, err := e.file(room)
	if err != nil {
		return err
	}
	fresh := freshPrefix + name
	f, err := d.Open(fresh, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = unix.Renameat(d.fd(), fresh, d.fd(), name)
	}
	if err != nil {
		d.Delete(fresh)
		return fmt.Errorf("%s: %w", filepath.Join(d.Path(), name), err)
	}
	return nil
}

// file is what the file of an entry has, with blanks as room.
func (e *Entry) file(room int) ([]byte, error) {
	b, err := e.encode()
	if err != nil {
		return nil, err
	}
	return append(append(b, bytes.Repeat([]byte{' '}, max(0, room))...), '\n'), nil
}

// Complete writes an entry anew with how its run has ended. On a full disk it goes into
// the room that WriteRoomy has left: a reader may then see it half written, for a moment.
func (d *Dir) Complete(name string, e *Entry) error {
	err := d.Write(name, e)
	if err != nil && d.overwrite(name, e) == nil {
		return nil
	}
	return err
}

// overwrite writes an entry where it is, and does not make its file longer.
func (d *Dir) overwrite(name string, e *Entry) error {
	f, err := d.Open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := e.file(0)
	if err != nil {
		return err
	}
	if b, err = e.file(int(info.Size()) - len(b)); err != nil {
		return err
	}
	if int64(len(b)) > info.Size() {
		return fmt.Errorf("%s: %w", f.Name(), unix.ENOSPC)
	}
	_, err = f.WriteAt(b, 0)
	return err
}

// Rename gives a file another name, in place of one that has it.
func (d *Dir) Rename(from, to string) error {
	err := unix.Renameat(d.fd(), from, d.fd(), to)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(d.Path(), from), New: filepath.Join(d.Path(), to), Err: err}
	}
	return nil
}

// Delete removes a file. That it is not there is no error.
func (d *Dir) Delete(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "remove", Path: filepath.Join(d.Path(), name), Err: err}
	}
	return nil
}

// DeleteEntry is Delete for an entry, and for what its writer may have died over.
func (d *Dir) DeleteEntry(name string) error {
	return errors.Join(d.Delete(freshPrefix+name), d.Delete(name))
}

// Names lists the files.
func (d *Dir) Names() ([]string, error) {
	// Another description of it: one has a single position.
	fd, err := unix.Openat(d.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.Path(), Err: err}
	}
	f := os.NewFile(uintptr(fd), d.Path())
	defer f.Close()
	return f.Readdirnames(-1)
}

// The files of a run: its entry, its socket, those it has let go of; and each of them
// before it is whole.
const (
	runSuffix    = ".json"
	socketSuffix = ".sock"
	keptSuffix   = ".kept"
	freshPrefix  = ".new-"
)

// List returns what is in the directory, without the entries that are stale, which it
// removes.
func (d *Dir) List() (*Contents, error) {
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	return d.list(names), nil
}

// tidiesIfFirst is the letter with which the ID of a run begins, one of 32, that sees to
// the registry, and mostTidied is how many files it looks at: so what dead owners have
// left is removed faster than it can become more, also if nobody lists it, and other
// runs pay nothing for that.
const (
	tidiesIfFirst = '0'
	mostTidied    = 256
)

// tidy removes stale entries, if there are so many files only some of them.
func (d *Dir) tidy() {
	names, err := d.Names()
	if err != nil {
		return
	}
	if extra := len(names) - mostTidied; extra > 0 {
		names = names[rand.IntN(extra+1):][:mostTidied]
	}
	d.list(names)
}

// list is List of some files.
func (d *Dir) list(names []string) *Contents {
	c := &Contents{}
	for _, name := range names {
		ext := filepath.Ext(name)
		if !IsID(strings.TrimSuffix(name, ext)) || ext != runSuffix && ext != keptSuffix {
			continue
		}
		// As long as a run has its entry, its owner may write anew what it has let go of.
		unfinished := ext == keptSuffix && unix.Faccessat(d.fd(), strings.TrimSuffix(name, ext)+runSuffix, unix.F_OK, 0) == nil
		e, err := d.Read(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has just been removed
			continue
		case err != nil:
			c.Strange = append(c.Strange, filepath.Join(d.Path(), name))
			continue
		}
		found := Found{Entry: *e, From: d}
		if ext == runSuffix {
			found.State = e.Owner.Look()
			if found.State == Unseen && d.deserted(e) {
				found.State = Stale
			}
			if found.State != Stale {
				c.Runs = append(c.Runs, found)
				continue
			}
		} else if found.Kept, found.State = e.keptOrUnseen(); found.State != Stale {
			c.Kept = append(c.Kept, found)
			continue
		} else if unfinished {
			continue
		}
		if d.remove(e.ID, ext) == nil { // who may not, has said all that there is to say
			c.Removed++
		}
	}
	return c
}

// deserted reports whether an owner that cannot be seen from here is known to be dead:
// it has the run's socket as long as it lives, and the kernel says that nobody has it.
// Another kernel's sockets, on a file system that is shared, it knows nothing of.
func (d *Dir) deserted(e *Entry) bool {
	if e.NoControl != "" || e.Owner.Boot != bootID() {
		return false
	}
	path, err := d.socketPath(e.ID + socketSuffix)
	if err != nil {
		return false
	}
	// A socket of another kind does not connect, so that the owner does not hear of it.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) == unix.ECONNREFUSED
}

// keptOrUnseen is KeptAlive, with all of the kept if it cannot be told who lives.
func (e *Entry) keptOrUnseen() ([]Process, State) {
	living, state := e.KeptAlive()
	if state == Unseen {
		living = e.Kept
	}
	return living, state
}

// remove removes a run's entry with its socket, or the file of those it has let go of.
//
// The entry comes last: who dies before that leaves one that is stale.
func (d *Dir) remove(id, suffix string) error {
	var err error
	if suffix == runSuffix {
		err = errors.Join(d.Delete(freshPrefix+id+keptSuffix), d.Delete(id+socketSuffix))
	}
	return errors.Join(err, d.DeleteEntry(id+suffix))
}

// Forget removes what Found says of a run.
func (f *Found) Forget() error {
	if f.Entry.Kept != nil {
		return f.From.remove(f.ID, keptSuffix)
	}
	return f.From.remove(f.ID, runSuffix)
}

// Sweep removes what is not part of an entry and has been there for an hour: files that
// were not finished, sockets that nobody has, and files that only look like entries.
// It returns how many.
func (d *Dir) Sweep() (n int, err error) {
	names, err := d.Names()
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, name := range names {
		old := time.Now().Add(-LeftAge)
		ext := filepath.Ext(name)
		id := strings.TrimPrefix(strings.TrimSuffix(name, ext), freshPrefix)
		var st unix.Stat_t
		if !IsID(id) || unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		switch {
		case time.Unix(st.Mtim.Unix()).After(old):
			continue
		case strings.HasPrefix(name, freshPrefix):
		case ext == socketSuffix:
			if unix.Faccessat(d.fd(), id+runSuffix, unix.F_OK, 0) == nil {
				continue
			}
		case ext == runSuffix, ext == keptSuffix:
			if _, err := d.Read(name); !errors.Is(err, errStrange) {
				continue
			}
		default:
			continue
		}
		if err := d.Delete(name); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}
