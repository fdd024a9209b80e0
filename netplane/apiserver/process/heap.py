"""When Python looks for cyclic garbage: rarely, and never in the middle of an answer's way for long.

Requests make no cycles; reference counts free all they use. A full collection walks every object that is alive,
though, some 250 ms with 10,000 Services and 1,000 watches, and Python starts one whenever the living grow by a quarter:
then no watcher hears anything for that long, several times in a row while many connect.

    hold       before the store is loaded: loading makes objects by the 100,000, none of them garbage
    settle     once it is: what is there is set aside, and not walked again when young objects are looked at
    sweep      every five minutes: one collection of what is younger; what lives on is set aside as well, so that the
               pause stays short however much is stored; once an hour, of everything

What is free goes back to the system every few seconds (malloc_trim, some 0.3 ms, up to 7 when there is much): otherwise
a thousand watches that come and go leave 50 MB behind, full of holes.
"""

import asyncio
import contextlib
import ctypes
import gc
import itertools

YOUNG_OBJECTS = 10_000
YOUNG_PER_MIDDLE = 10
NEVER = 1_000_000_000
TRIM_EVERY_S = 5
TRIMS_PER_SWEEP = 60
SWEEPS_PER_WHOLE = 12
_C = ctypes.CDLL(None)


def hold() -> None:
    """Look for nothing until `settle`."""
    gc.disable()


def settle() -> None:
    """Set aside all that is alive; from now on only young objects are looked at by themselves."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_PER_MIDDLE, NEVER)
    gc.enable()


def trim() -> None:
    """Give unused memory back to the system."""
    with contextlib.suppress(AttributeError):  # another C library than glibc
        _C.malloc_trim(0)


def sweep(*, everything: bool = False) -> None:
    """Free cyclic garbage among what was made since the last sweep (or of all times), and set the rest aside."""
    if everything:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


async def run() -> None:
    """Look after memory until cancelled."""
    for number in itertools.count(1):
        for _ in range(TRIMS_PER_SWEEP):
            await asyncio.sleep(TRIM_EVERY_S)
            trim()
        sweep(everything=number % SWEEPS_PER_WHOLE == 0)
