"""How the user calls us: hints name commands that can be typed as they are."""

import os
import shutil

VARIABLE = "NETPLANE_CALLED_AS"  # `./run` sets it to its own name


def as_program() -> str:
    """`netplane`, or what calls it in a checkout."""
    return os.environ.get(VARIABLE, "netplane")


def lab(*words: str) -> str:
    """The command line of a verb: `netplane lab down blue`."""
    return " ".join((as_program(), "lab", *filter(None, words)))


def kubectl() -> str:
    """The machine's, or the checkout's where there is none."""
    return "kubectl" if shutil.which("kubectl") or VARIABLE not in os.environ else f"{as_program()} kubectl"
