"""When Python looks for cyclic garbage: rarely, and never in the middle of an answer's way for long.

Requests make no cycles; reference counts free all they use. A full collection walks every object that is alive,
though, some 250 ms with 10,000 Services and 1,000 watches, and Python starts one whenever the living grow by a quarter:
then no watcher hears anything for that long, several times in a row while many connect.

    hold       before the store is loaded: loading makes objects by the 100,000, none of them garbage
    settle     once it is: what is there stays for good and is never walked again
    sweep      every five minutes: one full collection, and freed memory goes back to the system
"""

import asyncio
import contextlib
import ctypes
import gc

YOUNG_OBJECTS = 10_000
YOUNG_PER_MIDDLE = 10
NEVER = 1_000_000_000
SWEEP_EVERY_S = 300


def hold() -> None:
    """Look for nothing until `settle`."""
    gc.disable()


def settle() -> None:
    """Set aside all that is alive; from now on only young objects are looked at by themselves."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_PER_MIDDLE, NEVER)
    gc.enable()


def sweep() -> int:
    """Free cyclic garbage (its number of objects is returned) and give unused memory back to the system."""
    found = gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    return found


async def run() -> None:
    """Sweep until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        sweep()
