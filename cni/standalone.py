"""The plugin without an agent: one call, done in this process, on the same lease store and with the same engine.

    runtime ─▶ relay ─ exec ─▶ BIN_DIR/.netplane-standalone ─▶ lock ─▶ reconcile ─▶ engine ─▶ answer

Calls take turns by a lock on the state folder. Whoever holds it is alone, so a lease still reserved by then belongs
to a process that died, and is put right before the call. An agent holds the same lock for as long as it runs.
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
from cni.config import version_of
from cni.errors import CniError, Code
from cni.frames import STDIN_MAX_BYTES, Request
from netplane.errors import NetplaneError
from netplane.obs import logs

LOCK_TIMEOUT_S = 60.0
_POLL_S = 0.01
# The other verbs answer from the store and the kernel as they are.
_CHANGING = ("ADD", "DEL", "GC")


def main(state_dir: str) -> None:
    """Do the call in the environment and on stdin; print the answer; end the process.

    Args:
        state_dir: folder of the lease store.
    """
    logs.setup("error")
    status, text = run(Path(state_dir), sys.argv[0], os.environ, sys.stdin.buffer.read(STDIN_MAX_BYTES + 1))
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    sys.exit(status)


def run(state_dir: Path, argv0: str, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
    """One call: exit status and what is printed. Never raises."""
    variables = {key: value for key, value in environment.items() if key.startswith("CNI_")}
    try:
        with _locked(state_dir):
            return _handle(state_dir, Request(argv0, variables, stdin))
    except (NetplaneError, OSError, sqlite3.Error) as error:
        from cni.engine import as_cni_error  # noqa: PLC0415

        failure = as_cni_error(error)
        return 1, errors.encode(failure, version_of(stdin))


def _handle(state_dir: Path, request: Request) -> tuple[int, bytes]:
    # The lock may be long in coming; what is needed only with it is imported then.
    from cni.engine import Engine  # noqa: PLC0415
    from cni.leases import Leases, boot_id  # noqa: PLC0415

    engine = Engine(Leases(state_dir / "leases.db", boot_id()))
    try:
        if request.environment.get("CNI_COMMAND") in _CHANGING:
            engine.reconcile()
        return engine.handle(request)
    finally:
        engine.close()


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
