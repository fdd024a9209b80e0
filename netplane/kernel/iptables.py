"""iptables rules of the caller's namespace, through the programs that own their format.

Both kinds are looked at, where their programs are installed: those kept in nftables (`iptables-nft-save`) and the
legacy ones. Reading creates nothing in the kernel.
"""

import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from netplane.errors import NetplaneError
from netplane.kernel import netns

SAVERS = ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save")


class IptablesError(NetplaneError):
    """iptables refused, or could not be read."""


class Saved(NamedTuple):
    """What one saver printed; `restorer` takes its changes."""

    restorer: str
    text: str


def saved(netns_fd: int | None = None) -> Iterator[Saved]:
    """Everything that iptables holds, one value per kind and family."""
    found = [saver for saver in SAVERS if shutil.which(saver)]
    for saver in found or [saver for saver in ("iptables-save", "ip6tables-save") if shutil.which(saver)]:
        yield Saved(saver.replace("-save", "-restore"), _run(saver, netns_fd=netns_fd))


def restore(change: Saved, netns_fd: int | None = None) -> None:
    """Apply changes (`iptables-restore` text) to what is there, atomically per table.

    Raises:
        IptablesError: with the program's own words.
    """
    _run(change.restorer, "--noflush", "--wait", stdin=change.text, netns_fd=netns_fd)


def _run(program: str, *arguments: str, stdin: str = "", netns_fd: int | None = None) -> str:
    with netns.entered(netns_fd):
        done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise IptablesError(f"{program}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
