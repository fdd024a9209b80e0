"""Builds the CNI relay (cni/shim.c) into the wheel when there is a C compiler; without one the Python relay serves.

It lies under share/netplane of the environment, for an ordinary and for an editable install alike.
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RELAY = "netplane-cni-relay"
FLAGS = ["-O2", "-Wall", "-Wextra", "-s"]


class RelayHook(BuildHookInterface):
    """Adds the relay to wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it packs a wheel (`version` is "standard" or "editable")."""
        if self.target_name != "wheel":
            return
        out = Path(self.root, "build", RELAY)
        if not compile_relay(Path(self.root, "cni", "shim.c"), out):
            self.app.display_warning("no C compiler made the CNI relay; the Python one will be used")
            return
        build_data["shared_data"][str(out)] = f"share/netplane/{RELAY}"
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def compile_relay(source: Path, out: Path) -> bool:
    """Compile, statically where the C library allows it. Returns whether it worked."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return False
    out.parent.mkdir(exist_ok=True)
    for mode in (["-static"], []):
        made = subprocess.run([*compiler.split(), *FLAGS, *mode, "-o", out, source], capture_output=True, check=False)
        if made.returncode == 0:
            return True
    return False
