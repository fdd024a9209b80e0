"""Texts of `nft -f`, run in the namespace of whoever calls; one door for all that this package has in nftables."""

from contextlib import closing

from netplane.kernel.nft import Nft, NftError


def run(text: str) -> str:
    """Run a text as one transaction; returns what it prints.

    Raises:
        NftError: the kernel refused; nothing of it is done.
    """
    with closing(Nft()) as nft:
        return nft.run_text(text)


def ask(question: str) -> str:
    """The answer to a `get` or a `list`; "" when there is no such thing."""
    try:
        return run(question)
    except NftError:
        return ""


def has(table: str) -> bool:
    """Whether a table is there, named as `inet netplane-cni`."""
    with closing(Nft()) as nft:
        return table in nft.tables()
