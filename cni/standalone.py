"""The plugin without an agent: one call, done in this process, on the same lease store and with the same engine.

    runtime ─▶ relay ─ exec ─▶ BIN_DIR/.netplane-standalone ─▶ lock ─▶ reconcile ─▶ engine ─▶ answer

Calls take turns by a lock on the state folder, held for as long as the store is open. Whoever holds it is alone, so a
lease still reserved by then belongs to a process that died, and is put right before the call. An agent holds the same
lock for as long as it runs.
"""

import fcntl
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cni import errors
from cni.announce import Announcer
from cni.config import version_of
from cni.errors import CniError, Code
from cni.frames import STDIN_MAX_BYTES, Request
from netplane.errors import NetplaneError
from netplane.obs import logs

LOCK_TIMEOUT_S = 60.0
_POLL_S = 0.003
# The other verbs answer from the store and the kernel as they are.
_CHANGING = ("ADD", "DEL", "GC")


def main(state_dir: str) -> None:
    """Do the call in the environment and on stdin; print the answer; end the process.

    Args:
        state_dir: folder of the lease store.
    """
    logs.setup("error")
    announcer = Announcer(threaded=False)
    stdin = sys.stdin.buffer.read(STDIN_MAX_BYTES + 1)
    status, text = run(Path(state_dir), sys.argv[0], os.environ, stdin, announcer)
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    # A runtime waits for the process and for its stdout; the announcement is due later, and is a child's.
    if announcer.waits and os.fork() == 0:
        _announce(announcer)
    os._exit(status)  # what is left in memory is of no use, and the kernel frees it sooner than Python


def _announce(announcer: Announcer) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    announcer.close()
    os._exit(0)


def run(
    state_dir: Path, argv0: str, environment: Mapping[str, str], stdin: bytes, announcer: Announcer | None = None
) -> tuple[int, bytes]:
    """One call: exit status and what is printed. Never raises.

    Args:
        state_dir: folder of the lease store.
        argv0: the name the plugin was called by.
        environment: with CNI_*.
        stdin: the configuration.
        announcer: keeps what is to be announced for the caller to send; None: it is sent before this returns.
    """
    # Loaded before the lock is asked for: others need not wait for that.
    from cni.engine import Engine, as_cni_error  # noqa: PLC0415
    from cni.leases import Leases, boot_id  # noqa: PLC0415

    variables = {key: value for key, value in environment.items() if key.startswith("CNI_")}
    mine = announcer or Announcer(threaded=False)
    try:
        with _locked(state_dir):
            engine = Engine(Leases(state_dir / "leases.db", boot_id()), announcer=mine)
            try:
                if variables.get("CNI_COMMAND") in _CHANGING:
                    engine.reconcile()
                answer = engine.handle(Request(argv0, variables, stdin))
            finally:
                engine.leases.close()
    except (NetplaneError, OSError, sqlite3.Error) as error:
        return 1, errors.encode(as_cni_error(error), version_of(stdin))
    if announcer is None:
        engine.close()
    return answer


@contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "lock").open("w") as file:
        end = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(file.fileno()):
            if time.monotonic() > end:
                raise CniError(
                    Code.TRY_AGAIN,
                    f"the state folder {state_dir} is in use",
                    "an agent has it: install the plugin without --standalone, or stop netplane-agent",
                )
            time.sleep(_POLL_S)
        yield


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
