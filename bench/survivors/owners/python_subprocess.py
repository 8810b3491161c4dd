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


def begin():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


signal.signal(signal.SIGTERM, stop)
# A stop waits until Popen has returned: before that there is nobody to kill.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
child = subprocess.Popen(sys.argv[1:], start_new_session=True, pass_fds=(3, 4, 5), preexec_fn=begin)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
sys.exit(child.wait() & 0x7F)
