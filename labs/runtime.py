"""Calls a CNI plugin the way a container runtime does (CNI 1.0.0, sections 2 to 4): reads the conflist, executes each
plugin with CNI_* in its environment and its configuration on stdin, keeps the result for DEL.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from netplane.errors import NetplaneError
from netplane.kernel import netns

TIMEOUT_S = 60


class CniFailed(NetplaneError):
    """A plugin answered with an error, or with nothing a runtime can read."""


class Attachment(msgspec.Struct, frozen=True):
    """One pod's place in the network, as the runtime names it. `netns` is empty when the namespace is gone."""

    container_id: str
    netns: str
    ifname: str = "eth0"
    args: str = ""


def load_conflist(folder: Path) -> dict[str, Any] | None:
    """The first network configuration list in lexical order (what containerd and CRI-O do); None when there is none.

    Raises:
        CniFailed: when it is not a configuration list.
    """
    files = sorted(folder.glob("*.conflist")) if folder.is_dir() else []
    if not files:
        return None
    try:
        conf = json.loads(files[0].read_text())
    except ValueError as error:
        raise CniFailed(f"{files[0]}: not JSON: {error}") from error
    if not isinstance(conf, dict) or not conf.get("plugins"):
        raise CniFailed(f"{files[0]}: field plugins: a non-empty list is needed")
    return conf


class CniRuntime:
    """The runtime of one node.

    Args:
        node_netns: the namespace that plugins are executed in (the node's).
        bin_dir: where plugin binaries lie; becomes CNI_PATH.
        conf_dir: where the conflist lies.
        cache_dir: results are kept here, one file per attachment, until DEL.
    """

    def __init__(self, node_netns: str, bin_dir: Path, conf_dir: Path, cache_dir: Path) -> None:
        self.node_netns = node_netns
        self.bin_dir = bin_dir
        self.conf_dir = conf_dir
        self.cache_dir = cache_dir

    def ready(self) -> bool:
        """Whether the network is configured: a conflist is there."""
        return load_conflist(self.conf_dir) is not None

    def add(self, attachment: Attachment) -> dict[str, Any]:
        """Run ADD through the list; the last plugin's result. On failure the list is run with DEL, then raised."""
        conflist = self._conflist()
        cache = self._cache(attachment)
        cache.parent.mkdir(parents=True, exist_ok=True)
        # The list is kept before the first ADD, so that a DEL after a crash uses the configuration of its ADD.
        cache.write_text(json.dumps({"conflist": conflist}))
        result: dict[str, Any] | None = None
        try:
            for plugin in conflist["plugins"]:
                result = self._execute("ADD", conflist, plugin, attachment, result)
        except CniFailed:
            self.delete(attachment)
            raise
        cache.write_text(json.dumps({"conflist": conflist, "result": result}))
        return result or {}

    def delete(self, attachment: Attachment) -> None:
        """Run DEL through the list in reverse, with the result ADD gave; harmless when repeated."""
        cache = self._cache(attachment)
        kept: dict[str, Any] = {}
        if cache.exists():
            kept = json.loads(cache.read_text() or "{}")
        conflist = kept.get("conflist") or load_conflist(self.conf_dir)
        if conflist is None:
            return
        for plugin in reversed(conflist["plugins"]):
            self._execute("DEL", conflist, plugin, attachment, kept.get("result"))
        cache.unlink(missing_ok=True)

    def check(self, attachment: Attachment) -> None:
        """Run CHECK through the list. Raises CniFailed when the network is not as ADD left it."""
        kept = json.loads(self._cache(attachment).read_text())
        for plugin in kept["conflist"]["plugins"]:
            self._execute("CHECK", kept["conflist"], plugin, attachment, kept["result"])

    def _conflist(self) -> dict[str, Any]:
        conflist = load_conflist(self.conf_dir)
        if conflist is None:
            raise CniFailed(f"no network configuration in {self.conf_dir}", hint="the node agent writes it when ready")
        return conflist

    def _cache(self, attachment: Attachment) -> Path:
        return self.cache_dir / f"{attachment.container_id}-{attachment.ifname}.json"

    def _execute(
        self,
        command: str,
        conflist: dict[str, Any],
        plugin: dict[str, Any],
        attachment: Attachment,
        previous: dict[str, Any] | None,
    ) -> dict[str, Any] | None:
        conf = {**plugin, "cniVersion": conflist.get("cniVersion", "0.4.0"), "name": conflist["name"]}
        if previous is not None:
            conf["prevResult"] = previous
        env = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": attachment.ifname,
            "CNI_ARGS": attachment.args,
            "CNI_PATH": str(self.bin_dir),
        }
        binary = self.bin_dir / str(plugin["type"])
        try:
            with netns.opened(self.node_netns) as fd, netns.entered(fd):
                process = subprocess.Popen(
                    [binary], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            out, err = process.communicate(json.dumps(conf).encode(), timeout=TIMEOUT_S)
        except OSError as error:
            raise CniFailed(f"CNI {command}: {binary}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise CniFailed(f"CNI {command}: {binary.name} did not answer in {TIMEOUT_S} s") from error
        return _read_answer(command, binary.name, process.returncode, out, err)


def _read_answer(command: str, plugin: str, code: int, out: bytes, err: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(out) if out.strip() else None
    except ValueError as error:
        raise CniFailed(f"CNI {command}: {plugin} printed no JSON: {out[:200]!r}") from error
    if code == 0:
        return answer if isinstance(answer, dict) else None
    if isinstance(answer, dict) and "msg" in answer:
        details = f" ({answer['details']})" if answer.get("details") else ""
        raise CniFailed(f"CNI {command}: {plugin}: error {answer.get('code')}: {answer['msg']}{details}")
    raise CniFailed(f"CNI {command}: {plugin} exited with {code}: {err.decode(errors='replace')[-300:]}")
