# Python's subprocess, with a session of its own, killpg, and a parent-death signal.
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
child = None


def kill(sig):
    try:
        os.killpg(child.pid, sig)
    except ProcessLookupError:
        pass  # nobody is left in the group


def stop(*_):
    kill(signal.SIGTERM)
    time.sleep(0.3)
    kill(signal.SIGKILL)


signal.signal(signal.SIGTERM, stop)
child = subprocess.Popen(
    sys.argv[1:],
    start_new_session=True,
    pass_fds=(3, 4, 5),
    preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
)
sys.exit(child.wait() & 0x7F)
