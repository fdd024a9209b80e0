"""Keeps a lab's programs alive: starts each, starts it again when it dies, ends them all on SIGTERM.

Programs that need a file (a kubeconfig) are started once it is there, so nothing waits longer than it must. A killed
supervisor leaves its programs running; `lab down` finds them by their mark.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import yaml

from labs import processes, state
from labs.programs import Program, all_programs
from labs.topology import APISERVER_PORT, Lab
from netplane.obs import logs

log = logs.get("lab.supervisor")

RESTART_S = (0.05, 0.2, 0.5, 1.0, 2.0)
# A program that lived this long was well: its next death is a first one.
WELL_AFTER_S = 10.0


def write_node_kubeconfig(lab: Lab) -> None:
    """Derive the nodes' kubeconfig from kubectl's: the same credentials, the underlay's address."""
    doc = yaml.safe_load(lab.kubeconfig.read_text())
    for cluster in doc["clusters"]:
        cluster["cluster"]["server"] = f"https://{lab.gateway}:{APISERVER_PORT}"
    draft = lab.node_kubeconfig.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(yaml.safe_dump(doc))
    draft.replace(lab.node_kubeconfig)


async def keep(lab: Lab, program: Program) -> None:
    """Run one program for ever."""
    while program.needs is not None and not program.needs.exists():
        await asyncio.sleep(0.01)
    deaths = 0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        child = processes.start(
            program.argv, lab_folder=lab.folder, log=lab.logs / f"{program.name}.log", netns_name=program.netns
        )
        _record(lab, program.name, child.pid)
        await _ended(child.pid)
        code = child.wait()
        deaths = 0 if loop.time() - began > WELL_AFTER_S else deaths + 1
        pause = RESTART_S[min(max(deaths - 1, 0), len(RESTART_S) - 1)]
        log.warning("program ended, starting it again", program=program.name, code=code, pause_s=pause)
        await asyncio.sleep(pause)


def _record(lab: Lab, name: str, pid: int) -> None:
    """Note who runs now; readers see the former or the new one, never half a line."""
    folder = lab.folder / "run"
    folder.mkdir(exist_ok=True)
    draft = folder / f".{name}.new"
    draft.write_text(f"{pid} {processes.start_time(pid) or 0}\n")
    draft.replace(folder / f"{name}.pid")


async def _ended(pid: int) -> None:
    gone = asyncio.Event()
    fd = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def supervise(lab: Lab) -> None:
    """Keep everything running until SIGTERM, then end the programs; pods stay, `lab down` ends them."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def nodes_config() -> None:
        while not lab.kubeconfig.exists():
            await asyncio.sleep(0.01)
        write_node_kubeconfig(lab)

    tasks = [asyncio.create_task(keep(lab, program)) for program in all_programs(lab)]
    tasks.append(asyncio.create_task(nodes_config()))
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for name, pid, started in program_pids(lab):
        log.info("ending", program=name)
        processes.kill(pid, started, signal.SIGTERM)


def program_pids(lab: Lab) -> list[tuple[str, int, int]]:
    """(program, pid, start time) of every program last started, dead or alive."""
    found = []
    for path in sorted((lab.folder / "run").glob("*.pid")):
        with contextlib.suppress(ValueError):
            pid, started = path.read_text().split()
            found.append((path.stem, int(pid), int(started)))
    return found


def main() -> None:
    """`python -m labs.supervisor LAB_FOLDER`."""
    logs.setup()
    asyncio.run(supervise(state.load(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
