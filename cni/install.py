"""Puts the relay where runtimes look for plugins, and the configuration where they look for networks.

    BIN_DIR/netplane           the relay: the C one when it was built, else the Python one
    BIN_DIR/netplane-portmap, netplane-bandwidth   the same: the configuration says which plugin is meant
    BIN_DIR/loopback           the same, unless another's is there
    BIN_DIR/.netplane-relay    one line: where the agent's socket is, or the program that does without
    BIN_DIR/.netplane-standalone   that program
    BIN_DIR/.netplane-python/   the Python relay's interpreter (cni/early.py)
    CONF_DIR/10-netplane.conflist

Every file is written beside its place and renamed into it, so that a runtime never runs or reads half of one.
"""

import base64
import os
import subprocess
import sys
import zlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from cni import early
from cni.files import write_atomic
from cni.plan import conflist
from netplane.errors import NetplaneError

RELAY = "netplane-cni-relay"
SIDECAR = ".netplane-relay"
STANDALONE = ".netplane-standalone"
PLUGIN, LOOPBACK = "netplane", "loopback"
CHAINED = ("netplane-portmap", "netplane-bandwidth")
DEFAULT_SOCKET = Path("/run/netplane/cni.sock")
DEFAULT_BIN_DIR = Path("/opt/cni/bin")
DEFAULT_CONF_DIR = Path("/etc/cni/net.d")
_MAGIC_BYTES = 4
_INTERPRETERS = ("/usr/bin/python3", "/usr/local/bin/python3")


def built_relay() -> Path | None:
    """The C relay that came with the installed package, editable or not; None when no compiler was there."""
    for file in metadata.files("netplane") or ():
        if file.name == RELAY:
            path = Path(str(file.locate()))
            return path.resolve() if path.is_file() else None
    return None


def relay() -> bytes:
    """The relay's bytes."""
    path = built_relay()
    return path.read_bytes() if path else python_relay()


def python_relay() -> bytes:
    """The Python relay; its first line names an interpreter that is there, a system's before a slower environment's."""
    interpreter = next((i for i in _INTERPRETERS if os.access(i, os.X_OK)), sys.executable)
    return _compiled(_source(), interpreter, Path(interpreter).stat().st_mtime_ns)


def _source() -> str:
    return Path(__file__).with_name("shim.py").read_text()


# Runs in the interpreter that will run the relay: bytecode is each version's own.
_COMPILE = """
import _frozen_importlib_external, marshal, sys
code = marshal.dumps(compile(sys.stdin.read(), "netplane", "exec", optimize=2))
sys.stdout.buffer.write(_frozen_importlib_external.MAGIC_NUMBER + code)
"""


@lru_cache(maxsize=1)
def _compiled(source: str, interpreter: str, changed_ns: int) -> bytes:
    """The relay with its bytecode in it, since a script is compiled at each start, which takes it 1 ms of 9; another
    interpreter than the one of `changed_ns`, after an upgrade, takes the source.
    """
    head = f"#!{interpreter} -IS\n"
    command = [interpreter, "-ISX", "utf8", "-c", _COMPILE]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    if done.returncode or len(done.stdout) <= _MAGIC_BYTES:
        return (head + source.partition("\n")[2]).encode()
    magic, code = done.stdout[:_MAGIC_BYTES], base64.b64encode(done.stdout[_MAGIC_BYTES:])
    packed = base64.b64encode(zlib.compress(source.encode(), 9))  # read over at each start, and hardly ever needed
    lines = [
        "# Made by `netplane cni install` out of its file cni/shim.py: the same, compiled, then as it is.",
        "import _frozen_importlib_external, binascii, marshal, zlib",
        f"compiled = {code!r}",
        f"source = {packed!r}",
        f"same = _frozen_importlib_external.MAGIC_NUMBER == {magic!r}",
        "unpack = binascii.a2b_base64",
        "exec(marshal.loads(unpack(compiled)) if same else zlib.decompress(unpack(source)))",
    ]
    return (head + "\n".join(lines) + "\n").encode()


def install_relay(bin_dir: Path, socket: Path, *, program: bytes | None = None) -> None:
    """Put the relay into a folder, to call the agent; what is the same already is not touched.

    Raises:
        NetplaneError: the folder cannot be written.
    """
    _install(bin_dir, f"socket {socket}", program)


def install_standalone(bin_dir: Path, state_dir: Path, *, program: bytes | None = None) -> None:
    """Put the relay into a folder, to do the work in its own process with this installation's Python.

    Raises:
        NetplaneError: the folder cannot be written.
    """
    target = bin_dir.absolute() / STANDALONE
    lines = [f"#!{sys.executable} -I", "from cni.standalone import main", f"main({os.fspath(state_dir.absolute())!r})"]
    _install(bin_dir, f"exec {target}", program, standalone="\n".join(lines).encode() + b"\n")


def _install(bin_dir: Path, where: str, program: bytes | None, standalone: bytes = b"") -> None:
    data = program if program is not None else relay()
    try:
        bin_dir.mkdir(parents=True, exist_ok=True)
        ours = _is_ours(bin_dir)
        if standalone:
            write_atomic(bin_dir / STANDALONE, standalone, 0o755)
        write_atomic(bin_dir / SIDECAR, f"{where}\n".encode(), 0o644)
        data = early.quickened(bin_dir, data, _source())
        for name in (PLUGIN, *CHAINED):
            write_atomic(bin_dir / name, data, 0o755)
        if ours or not (bin_dir / LOOPBACK).exists():
            write_atomic(bin_dir / LOOPBACK, data, 0o755)
        if not standalone:
            (bin_dir / STANDALONE).unlink(missing_ok=True)
        if not early.uses(data):
            early.remove(bin_dir)
    except OSError as error:
        raise NetplaneError(f"cannot install the CNI plugin in {bin_dir}: {error.strerror}") from error


def _is_ours(bin_dir: Path) -> bool:
    """Whether the loopback plugin that lies there is our relay."""
    plugin, loopback = bin_dir / PLUGIN, bin_dir / LOOPBACK
    if not (bin_dir / SIDECAR).exists() or not plugin.exists() or not loopback.exists():
        return False
    return plugin.read_bytes() == loopback.read_bytes()


def install_conflist(conf_dir: Path, text: bytes) -> bool:
    """Write the network's configuration, last of all: a runtime takes the node as ready when it is there.

    Returns:
        Whether it differed.

    Raises:
        NetplaneError: the folder cannot be written.
    """
    try:
        conf_dir.mkdir(parents=True, exist_ok=True)
        return write_atomic(conf_dir / conflist.FILE, text, 0o644)
    except OSError as error:
        raise NetplaneError(f"cannot write the CNI configuration in {conf_dir}: {error.strerror}") from error


def uninstall(bin_dir: Path, conf_dir: Path) -> list[Path]:
    """Remove everything that was put there, the configuration first. Returns what was removed."""
    doomed = [conf_dir / conflist.FILE, *(bin_dir / name for name in (PLUGIN, *CHAINED, SIDECAR, STANDALONE))]
    if _is_ours(bin_dir):
        doomed.insert(2, bin_dir / LOOPBACK)
    removed = [path for path in doomed if path.exists()]
    for path in removed:
        path.unlink()
    return removed + early.remove(bin_dir)
