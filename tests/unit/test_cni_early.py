"""The Python relay runs while Python starts, and is an ordinary script wherever that does not work."""

import json
import subprocess
from pathlib import Path

import pytest

from cni import early, install

# Debian's interpreter, say: a file `._pth` is read as of 3.11, and no module for sockets must be looked for.
_ASK = "import sys; print(sys.version_info >= (3, 11) and '_socket' in sys.builtin_module_names)"


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    """Installed as on a host without the C one."""
    install.install_relay(tmp_path, tmp_path / "cni.sock", program=install.python_relay())
    return tmp_path / "netplane"


def call(relay: Path, command: str = "VERSION") -> tuple[int, dict[str, object]]:
    variables = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1"}
    done = subprocess.run([relay], env=variables, input=b"{}", capture_output=True, check=False)
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def test_it_answers_before_its_script_is_read_where_the_interpreter_has_all_it_needs(relay: Path) -> None:
    plain = install.python_relay().decode().split(" ", 1)[0].removeprefix("#!")
    able = subprocess.run([plain, "-ISc", _ASK], capture_output=True, check=True).stdout == b"True\n"
    able = able and relay.stat().st_dev == Path("/").stat().st_dev
    first = relay.read_text().partition("\n")[0]
    assert (early.FOLDER in first) == able
    relay.write_text(f"{first}\nprint('{{\"read\": 1}}')\n")
    assert ("read" not in call(relay)[1]) == able
    assert call(relay, "STATUS")[1].get("code", 50) == 50


@pytest.mark.parametrize("as_script", [False, True])
def test_a_closed_stdin_is_an_empty_one(relay: Path, *, as_script: bool) -> None:
    if as_script:
        relay.write_bytes(install.python_relay())
    command = ["sh", "-c", 'exec "$0" <&-', str(relay)]
    done = subprocess.run(command, env={"CNI_COMMAND": "ADD"}, capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["code"], done.stderr) == (1, 11, b"")


@pytest.mark.parametrize("made_for", ["an interpreter without the file", "another interpreter"])
def test_it_becomes_a_script_again_by_itself(relay: Path, tmp_path: Path, made_for: str) -> None:
    folder = tmp_path / early.FOLDER
    early._write(tmp_path, "/usr/bin/python3", install._source())
    script = install.python_relay().partition(b"\n")[2]
    relay.write_bytes(f"#!{folder / 'python3'} -ISOO\n".encode() + script)
    if made_for == "another interpreter":
        (folder / "encodings.py").write_text((folder / "encodings.py").read_text().replace("_socket", "_sockets", 1))
    else:
        (folder / "python3._pth").unlink()
    status, body = call(relay)
    assert (status, body["cniVersion"]) == (0, "1.1.0")
    assert call(relay, "ADD")[1]["code"] == 11, "no agent is there"


def test_an_interpreter_that_cannot_is_not_used(tmp_path: Path) -> None:
    script = b"#!/bin/false -IS\nprint()\n"
    install.install_relay(tmp_path, tmp_path / "cni.sock", program=script)
    assert (tmp_path / "netplane").read_bytes() == script
    assert not (tmp_path / early.FOLDER).exists()


@pytest.mark.parametrize("name", ["d" * 100, "a b"], ids=["too long for old kernels", "with a space"])
def test_a_folder_that_no_first_line_can_name_gets_a_script(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    script = install.python_relay()
    assert early.quickened(folder, script, install._source()) == script
    assert list(folder.iterdir()) == []


def test_a_mounted_folder_gets_a_script() -> None:
    """A container's view of its host: the path may be another one there."""
    script = install.python_relay()
    assert early.quickened(Path("/proc"), script, install._source()) == script


def test_the_c_relay_and_uninstalling_take_it_away(relay: Path, tmp_path: Path) -> None:
    folder = tmp_path / early.FOLDER
    folder.mkdir(exist_ok=True)
    install.install_relay(tmp_path, tmp_path / "cni.sock", program=b"\x7fELF")
    assert not folder.exists()
    install.install_relay(tmp_path, tmp_path / "cni.sock", program=install.python_relay())
    before = folder.exists()
    assert (folder in install.uninstall(tmp_path, tmp_path)) == before
    assert list(tmp_path.iterdir()) == []
