"""Asks another IPAM plugin for addresses, as the specification has it (CNI 1.1.0, section 4, "Plugin Delegation"):
its program is looked up in CNI_PATH, and gets the same environment and configuration.
"""

import os
import subprocess
from pathlib import Path

import msgspec

from cni import results
from cni.errors import CniError, Code
from cni.protocol import Call, Verb
from netplane.obs import logs

log = logs.get("cni.delegate")
TIMEOUT_S = 90.0
# What a plugin answers that is older than the verb: of another version, or it does not know the word.
_TOO_OLD = {Code.INCOMPATIBLE_VERSION, Code.INVALID_ENVIRONMENT}
_STATUS_CODES = {Code.NOT_AVAILABLE, Code.LIMITED_CONNECTIVITY}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Failure(msgspec.Struct):
    code: int = int(Code.INTERNAL)
    msg: str = ""
    details: str = ""


def add(call: Call) -> results.Result:
    """Ask for addresses.

    Raises:
        CniError: the plugin is not there, refused, or gave no address.
    """
    result = results.decode(_run(call, Verb.ADD, call.request.stdin))
    if not result.ips:
        delete(call)
        raise CniError(Code.INVALID_CONFIG, f"ipam.type: {call.network.delegate} gave no address")
    return result


def delete(call: Call) -> None:
    """Give them back."""
    _run(call, Verb.DEL, call.request.stdin)


def delete_quietly(call: Call) -> None:
    """The same on the way out of another failure, which is the one to be told."""
    try:
        delete(call)
    except (CniError, OSError) as error:
        log.warning("the IPAM plugin did not take its addresses back", plugin=call.network.delegate, error=str(error))


def check(call: Call) -> None:
    """Have it compare what it gave."""
    _run(call, Verb.CHECK, call.request.stdin)


def status(call: Call) -> None:
    """Ask whether it could give an address now (CNI 1.1.0, STATUS); one that knows no STATUS is taken to be ready.

    Raises:
        CniError: with a code of STATUS.
    """
    try:
        _run(call, Verb.STATUS, call.request.stdin)
    except CniError as error:
        if error.code in _TOO_OLD:
            return
        code = error.code if error.code in _STATUS_CODES else Code.NOT_AVAILABLE
        raise CniError(code, error.message, error.hint) from error


def collect(call: Call) -> None:
    """Have it collect what belongs to no attachment any more (CNI 1.1.0, GC), where it knows how."""
    try:
        _run(call, Verb.GC, call.request.stdin)
    except CniError as error:
        if error.code not in _TOO_OLD:
            raise


def find(call: Call) -> Path:
    """Its program.

    Raises:
        CniError: it is in no folder of CNI_PATH.
    """
    folders = call.request.environment.get("CNI_PATH", "")
    for folder in filter(None, folders.split(":")):
        program = Path(folder) / call.network.delegate
        if program.is_file() and os.access(program, os.X_OK):
            return program
    raise CniError(
        Code.INVALID_CONFIG,
        f"ipam.type: the plugin {call.network.delegate!r} is in no folder of CNI_PATH ({folders})",
        "install it there, or use 'host-local' for the built-in address management",
    )


def for_attachment(call: Call, container: str, ifname: str) -> Call:
    """The call as if it were about another attachment, for GC."""
    environment = {**call.request.environment, "CNI_CONTAINERID": container, "CNI_IFNAME": ifname, "CNI_NETNS": ""}
    return msgspec.structs.replace(call, request=call.request._replace(environment=environment))


def _run(call: Call, verb: Verb, stdin: bytes) -> bytes:
    program, name = find(call), call.network.delegate
    environment = {"PATH": _PATH, **call.request.environment, "CNI_COMMAND": str(verb)}
    try:
        done = subprocess.run(
            [program], input=stdin, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CniError(Code.TRY_AGAIN, f"the IPAM plugin {name} did not answer in {TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise _failure(name, done)
    return done.stdout


def _failure(name: str, done: "subprocess.CompletedProcess[bytes]") -> CniError:
    try:
        told = msgspec.json.decode(done.stdout, type=_Failure)
    except (msgspec.MsgspecError, UnicodeError):
        told = _Failure(msg=done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}")
    return CniError(told.code, f"ipam {name}: {told.msg}", told.details)
