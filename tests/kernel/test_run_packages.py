"""`./run` installs Debian packages without starting their services: its rule for them, in a /usr/sbin of their own. And
one installation into the environment at a time, none under tests that run.

The mount namespace is the test's, and so are `apt-get` and `dpkg-query`; nothing of the machine's is touched.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.waiting import until

pytestmark = pytest.mark.privileged
ROOT = Path(__file__).parents[2]
# Asks as invoke-rc.d does when a package wants its service started, and writes down the answer: 101 is "no" (Debian
# policy, 9.3.3.1).
APT_GET = """#!/bin/sh
[ "$1" = install ] || exit 0
/usr/sbin/policy-rc.d containerd start; echo $? >>"$HERE/answers"
while [ -e "$HERE/busy" ]; do sleep 0.02; done
exit "$(cat "$HERE/status")"
"""
INSIDE = 'mount --bind "$HERE/sbin" /usr/sbin && exec sh "$HERE/run" lab --help'

# The environment's own: writes down that it installs, and takes its time.
PYTHON = """#!/bin/sh
[ "$2" = pip ] || exit 0
echo pip >>"$HERE/installs"
while [ -e "$HERE/slow" ]; do sleep 0.02; done
"""


class Machine:
    """A copy of the script and the programs it calls."""

    def __init__(self, here: Path) -> None:
        self.here, self.sbin = here, here / "sbin"
        self.rule = self.sbin / "policy-rc.d"
        shutil.copy(ROOT / "run", here / "run")
        (here / "status").write_text("0")
        self.sbin.mkdir()
        programs = {"bin/apt-get": APT_GET, "bin/dpkg-query": "#!/bin/sh\nexit 1\n"}
        programs |= {f"venv/bin/{name}": "#!/bin/sh\nexit 0\n" for name in ("pip", "netplane")}
        programs |= {"venv/bin/python": PYTHON, "netplane/api/schema/v1.36.json.gz": ""}
        for name, text in programs.items():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_text(text)
            (here / name).chmod(0o755)

    def start(self) -> "subprocess.Popen[bytes]":
        extra = {"HERE": str(self.here), "NETPLANE_VENV": str(self.here / "venv")}
        variables = {**os.environ, **extra, "PATH": f"{self.here / 'bin'}:/usr/bin:/bin"}
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", INSIDE]
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self) -> tuple[int, str]:
        process = self.start()
        output, _ = process.communicate(timeout=20)
        return process.returncode, output.decode()

    def answers(self, name: str = "answers") -> list[str]:
        path = self.here / name
        return path.read_text().split() if path.exists() else []

    def until_it_installs(self, name: str = "answers") -> None:
        until(lambda: self.answers(name), "something is installed")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_services_are_refused_while_packages_are_installed_and_not_after(machine: Machine) -> None:
    status, output = machine.run()
    assert (status, machine.answers()) == (0, ["101"]), output
    assert not machine.rule.exists()


def test_a_failed_installation_leaves_no_rule_and_says_what_failed(machine: Machine) -> None:
    (machine.here / "status").write_text("100")
    status, output = machine.run()
    assert (status, machine.answers()) == (1, ["101", "101"]), "once more after apt-get update"
    assert "could not finish: installing Debian packages" in output
    assert not machine.rule.exists()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_installation_that_is_ended_leaves_no_rule(machine: Machine, number: int, expected: int) -> None:
    (machine.here / "busy").touch()
    process = machine.start()
    machine.until_it_installs()
    assert machine.rule.exists()
    process.send_signal(number)
    (machine.here / "busy").unlink()
    process.communicate(timeout=20)
    assert process.returncode == expected
    assert not machine.rule.exists()


def test_a_rule_that_a_killed_run_left_goes_with_the_next(machine: Machine) -> None:
    (machine.here / "busy").touch()
    process = machine.start()
    machine.until_it_installs()
    process.kill()
    (machine.here / "busy").unlink()
    process.communicate(timeout=20)
    assert machine.rule.exists()
    assert machine.run()[0] == 0
    assert not machine.rule.exists()


@pytest.mark.parametrize("status", ["0", "100"])
def test_an_administrators_own_rule_is_asked_and_stays(machine: Machine, status: str) -> None:
    machine.rule.write_text("#!/bin/sh\nexit 104\n")
    machine.rule.chmod(0o750)
    (machine.here / "status").write_text(status)
    machine.run()
    assert set(machine.answers()) == {"104"}
    assert (machine.rule.read_text(), machine.rule.stat().st_mode & 0o777) == ("#!/bin/sh\nexit 104\n", 0o750)


def test_two_runs_do_not_install_the_same_twice_or_at_once(machine: Machine) -> None:
    (machine.here / "slow").touch()
    first = machine.start()
    machine.until_it_installs("installs")
    second = machine.start()
    assert second.stdout is not None
    while b"waiting for another ./run" not in (line := second.stdout.readline()):
        assert line, "it did not wait"
    (machine.here / "slow").unlink()
    assert [process.wait(20) for process in (first, second)] == [0, 0]
    assert machine.answers("installs") == ["pip"], "the second found it done"
    for process in (first, second):
        process.communicate()


def test_nothing_is_installed_under_tests_that_run(machine: Machine) -> None:
    lock = machine.here / "venv.lock"
    with lock.open("w") as tests:
        fcntl.flock(tests, fcntl.LOCK_SH)
        process = machine.start()
        assert process.stdout is not None
        while b"waiting for another ./run" not in (line := process.stdout.readline()):
            assert line, "it did not wait"
        assert machine.answers("installs") == []
    process.communicate(timeout=20)
    assert (process.returncode, machine.answers("installs")) == (0, ["pip"])
