"""What a YAML text would become, seen before any of it is built (pure): how deep it is, how much its aliases repeat.

A text is built by recursion in C, which a deep one would end together with the process; an alias of an alias of an
alias is a few bytes for any number of values; and one inside of what it stands for has no end. Go's library refuses
the same, with the same share of aliases.
"""

from typing import Any

import yaml

MAX_DEPTH = 1000
FEW_ALIASED = 1000
_ALL_MAY_BE, _FEW_MUST_BE = 400_000, 4_000_000
_MARKS = b"[{-?"


def check(raw: bytes) -> None:
    """Raises ValueError for a text that must not be built, YAMLError for one that is none."""
    if b"*" not in raw and sum(map(raw.count, _MARKS)) <= MAX_DEPTH and 2 * len(raw) <= MAX_DEPTH**2:
        return  # as most: nothing in it could do harm
    seen = _Seen()
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentEndEvent):
            return  # what follows is not read
        seen.add(event)


class _Seen:
    """The nodes of a document so far: how many there will be, and how many of them are repetitions."""

    def __init__(self) -> None:
        self._open: list[tuple[str | None, int]] = []
        self._sizes: dict[str, int] = {}
        self._total = self._aliased = 0

    def add(self, event: Any) -> None:
        """The next event. Raises ValueError."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self._total))
            self._total += 1
            if len(self._open) > MAX_DEPTH:
                raise ValueError(f"exceeded max depth of {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            self._note(anchor, self._total - before)
        elif isinstance(event, yaml.ScalarEvent):
            self._total += 1
            self._note(event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._repeat(str(event.anchor))

    def _note(self, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size

    def _repeat(self, anchor: str) -> None:
        if any(name == anchor for name, _ in self._open):
            raise ValueError(f"anchor '{anchor}' value contains itself")
        size = self._sizes.get(anchor, 1)  # one that is unknown is told of later
        self._total += size
        self._aliased += size
        if self._aliased > FEW_ALIASED and self._aliased > _allowed(self._total) * self._total:
            raise ValueError("document contains excessive aliasing")


def _allowed(total: int) -> float:
    """The share of values that may be repetitions: nearly all of a small document, a tenth of a large one."""
    beyond = (total - _ALL_MAY_BE) / (_FEW_MUST_BE - _ALL_MAY_BE)
    return 0.99 - 0.89 * min(max(beyond, 0.0), 1.0)
