"""What is made while Netplane is built: the CNI relay, and the table of the API's schemas.

The relay (cni/shim.c) needs a C compiler; without one the Python relay serves. It lies under share/netplane of the
environment, for an ordinary and for an editable install alike. The schemas come from the package kubernetes-validate,
which carries all releases (108 MB); the one that is served becomes a file of 100 KB beside the code that reads it.
"""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RELAY = "netplane-cni-relay"
FLAGS = ["-O2", "-Wall", "-Wextra", "-s"]


class NetplaneHook(BuildHookInterface):
    """Adds the relay and the schemas to wheels."""

    def dependencies(self) -> list[str]:
        """What the build environment needs; nothing when the schemas are there already."""
        return [] if self._made() else ["kubernetes-validate>=1.36,<2"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it packs a wheel (`version` is "standard" or "editable")."""
        if self.target_name != "wheel":
            return
        self._add_schemas()
        self._add_relay(build_data)

    def _made(self) -> bool:
        """Whether the schemas are there, and no older than what says which kinds they hold."""
        target = self._schemas()
        return target.exists() and target.stat().st_mtime >= target.with_name("build.py").stat().st_mtime

    def _schemas(self) -> Path:
        return Path(self.root, "netplane", "api", "schema", "v1.36.json.gz")

    def _add_schemas(self) -> None:
        target = self._schemas()
        if self._made():
            return
        spec = importlib.util.spec_from_file_location("schema_build", target.with_name("build.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        draft = target.with_suffix(".new")
        draft.write_bytes(module.packed())
        draft.replace(target)

    def _add_relay(self, build_data: dict[str, Any]) -> None:
        out = Path(self.root, "build", RELAY)
        if not compile_relay(Path(self.root, "cni", "shim.c"), out):
            self.app.display_warning("no C compiler made the CNI relay; the Python one will be used")
            return
        build_data["shared_data"][str(out)] = f"share/netplane/{RELAY}"
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def compile_relay(source: Path, out: Path) -> bool:
    """Compile, statically where the C library allows it. Returns whether it worked.

    Made beside its place and renamed into it: another build of the same checkout never packs half of it.
    """
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return False
    out.parent.mkdir(exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        for mode in (["-static"], []):
            command = [*compiler.split(), *FLAGS, *mode, "-o", str(draft), str(source)]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                draft.replace(out)
                return True
    finally:
        draft.unlink(missing_ok=True)
    return False
