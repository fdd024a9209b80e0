"""Compares an answer with a recorded one by structure: what a server chooses itself may differ, but consistently.

A uid, revision, address, node port or generated name of the recording stands for one of ours. `Names` remembers which,
refuses a second meaning for the same one, and translates the requests that follow.
"""

import json
import re
from typing import Any

Json = Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ADDRESS = re.compile(r"10\.96\.\d{1,3}\.\d{1,3}")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AGE = re.compile(r"(\d+[smhdy])+|<unknown>")
_REV_FIELDS = frozenset({"resourceVersion"})
_PORTS = frozenset({"nodePort", "healthCheckNodePort"})
_OWN_FIELDS = frozenset({"uid", "resourceVersion", "continue"})


class Names:
    """Recorded value → ours."""

    def __init__(self) -> None:
        self.ours: dict[str, str] = {}

    def same(self, recorded: Any, ours: Any) -> bool:
        """Whether `ours` may stand for `recorded`: always the first time, then only if it is the same one."""
        return self.ours.setdefault(str(recorded), str(ours)) == str(ours)

    def translate(self, text: str) -> str:
        """A recorded request in our names; longer ones first, and only whole ones."""
        for recorded in sorted(self.ours, key=len, reverse=True):
            if len(recorded) >= 4:
                text = re.sub(rf"(?<![\w.]){re.escape(recorded)}(?![\w])", self.ours[recorded], text)
        return text


class Comparison:
    """One answer against its recording. `ignore` names fields that are not looked at anywhere."""

    def __init__(self, names: Names, request: str, ignore: frozenset[str] = frozenset()) -> None:
        self.names = names
        self.request = request
        self.ignore = ignore
        self.problems: list[str] = []

    def compare(self, want: Json, have: Json, path: str = "") -> None:
        """Add a problem for each difference."""
        if isinstance(want, dict) and isinstance(have, dict):
            self._members(want, have, path)
        elif isinstance(want, list) and isinstance(have, list):
            if len(want) != len(have):
                self.problems.append(f"{path}: {len(have)} items instead of {len(want)}: {have} instead of {want}")
            for i, (one, other) in enumerate(zip(want, have, strict=False)):
                self.compare(one, other, f"{path}[{i}]")
        elif not self._leaf(want, have, path):
            self.problems.append(f"{path}: {have!r} instead of {want!r}")

    def _members(self, want: dict[str, Json], have: dict[str, Json], path: str) -> None:
        for key in {**want, **have}:
            where = f"{path}.{key}" if path else key
            if key in self.ignore:
                continue
            if key not in have:
                self.problems.append(f"{where}: missing, should be {want[key]!r}")
            elif key not in want:
                self.problems.append(f"{where}: {have[key]!r} should not be there")
            else:
                self.compare(want[key], have[key], where)

    def _leaf(self, want: Json, have: Json, path: str) -> bool:
        field = re.sub(r"\[\d+\]$", "", path).rpartition(".")[2]
        if want == have:
            return True
        if type(want) is not type(have):
            return False
        if field == "continue":
            return bool(have)
        if field in _OWN_FIELDS or (field in _PORTS and str(want) not in self.request):
            return self.names.same(want, have)
        if isinstance(want, str):
            return self._text(want, have, field, path)
        return field == "remainingItemCount" and isinstance(have, int)

    def _text(self, want: str, have: str, field: str, path: str) -> bool:
        if _TIME.fullmatch(want):
            return bool(_TIME.fullmatch(have))
        if field == "name" and "generateName" in self.request and path.endswith("metadata.name"):
            return len(want) == len(have) and want[:-5] == have[:-5] and self.names.same(want, have)
        if _ADDRESS.fullmatch(want) and want not in self.request:
            return bool(_ADDRESS.fullmatch(have)) and self.names.same(want, have)
        if ".cells" in path and _AGE.fullmatch(want):
            return bool(_AGE.fullmatch(have))
        return _blur(self.names.translate(want)) == _blur(have)


def _blur(text: str) -> str:
    """Without uids, times, addresses and revisions that a message mentions."""
    for pattern, word in ((_UID, "UID"), (_TIME, "TIME"), (_ADDRESS, "ADDRESS")):
        text = pattern.sub(word, text)
    text = re.sub(r"127\.0\.0\.1:\d+", "SERVER", text)
    return re.sub(r"current: \d+", "current: REV", text)


def parsed(body: Any) -> Any:
    """A recorded or received body: JSON if it is, lines of JSON as a list, else its text."""
    if not isinstance(body, str):
        return body
    for reader in (json.loads, _lines):
        try:
            return reader(body)
        except ValueError:
            continue
    return body


def _lines(body: str) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def cut(recorded: Any, have: Any) -> tuple[Any, Any]:
    """A long recording ends in the middle: both cut down to the list items or watch events that it still has whole."""
    if not isinstance(recorded, str) or not recorded.startswith("{"):
        return recorded, have
    start = recorded.find('"items": [') + len('"items": [') if '"items": [' in recorded else 0
    whole: list[Any] = []
    decoder = json.JSONDecoder()
    while start < len(recorded):
        try:
            found, start = decoder.raw_decode(recorded, start)
        except ValueError:
            break
        whole.append(found)
        start += len(recorded[start:]) - len(recorded[start:].lstrip(", \n"))
    ours = have["items"] if isinstance(have, dict) else have
    return whole, ours[: len(whole)]
