"""Volumes that nothing mounts any more, and files that hide others (pure)."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from netplane.api import quantity
from netplane.api.fields import go_quote
from netplane.api.pod_refs import projected

Json = dict[str, Any]

_GONE = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN = {"storageos": "storageOS"}


def warnings(given: list[Json], path: str) -> list[str]:
    """The volumes of a pod, at `path`."""
    found = [
        f"{path}[{i}].{_SHOWN.get(kind, kind)}: {why}"
        for i, one in enumerate(given)
        for kind, why in _GONE.items()
        if one.get(kind) is not None
    ]
    for i, one in enumerate(given):
        template = (one.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        found += _storage(template.get("spec") or {}, f"{path}[{i}].ephemeral.volumeClaimTemplate.spec")
    return found + [text for one in given for text in _overlaps(one)]


def _storage(claim: Json, path: str) -> list[str]:
    """Amounts of storage that are no whole bytes."""
    resources = claim.get("resources") or {}
    return [
        text
        for field in ("requests", "limits")
        for text in fractions(resources.get(field) or {}, f"{path}.resources.{field}", "storage")
    ]


def fractions(given: Json, path: str, *names: str) -> list[str]:
    """Those of `names` of which there is no whole number of bytes."""
    found: list[str] = []
    for name in names:
        amount = quantity.parse(given[name]) if given.get(name) is not None else None
        if amount is not None and amount.denominator != 1:
            shown = go_quote(quantity.canonical(given[name]))
            found.append(f"{path}[{name}]: fractional byte value {shown} is invalid, must be an integer")
    return found


class _File(NamedTuple):
    """A file of a volume, and which of several sources it is from."""

    path: str
    source: str = ""

    def __str__(self) -> str:
        return f"{go_quote(self.path)} ({self.source})" if self.source else go_quote(self.path)


_OF_ITEMS = (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", ""))


def _overlaps(volume: Json) -> list[str]:
    """Files of one volume that are in each other's way."""
    name, found = volume.get("name") or "", list[str]()
    for kind, word, field in _OF_ITEMS:
        source = volume.get(kind) or {}
        of = f"{word} {go_quote(source.get(field) or '')}" if field else word
        found += _clashes([_items(source)], f"volume {go_quote(name)} ({of})")
    empty = f"volume {go_quote(name)} (Projected) has no sources provided"
    sources = projected(volume)
    groups = [_projected(one) for one in sources]
    clashes = _clashes(groups, f"volume {go_quote(name)} (Projected)")
    return found + [empty for one in sources if not any(part is not None for part in one.values())] + clashes


def _items(source: Json, of: str = "") -> list[_File]:
    return [_File(one.get("path") or "", of) for one in source.get("items") or ()]


def _projected(source: Json) -> list[_File]:
    for kind, word, field in _OF_ITEMS:
        given = source.get(kind) or {}
        if given.get("items"):
            return _items(given, f"{word} {go_quote(given.get('name') or '')}" if field else word)
    token = source.get("serviceAccountToken")
    return [] if token is None else [_File(token.get("path") or "", "ServiceAccountToken")]


MOST = 100
"""So many of them are told of: an answer has room for 4,096 letters of warnings."""


def _clashes(groups: list[list[_File]], where: str) -> list[str]:
    """Files that are one another, or lie in one another: each with those before it."""
    files = [one._replace(path=one.path.rstrip("/")) for group in groups for one in group]
    above = _above({one.path for one in files})
    here, below = defaultdict[str, dict[_File, int]](dict), defaultdict[str, dict[_File, int]](dict)
    found: dict[str, None] = {}
    for i, file in enumerate(files):
        if not file.path or len(found) >= MOST:
            continue
        parents = list(_parents(file.path, above))
        others = dict(below[file.path])
        for one in parents:
            others |= here[one]
        found |= {
            f"{where}: overlapping paths: {file} with {one}": None for one in sorted(others, key=others.__getitem__)
        }
        here[file.path].setdefault(file, i)
        for one in (file.path, *parents):
            below[one].setdefault(file, i)
    return list(found)[:MOST]


def _above(paths: Collection[str]) -> dict[str, str]:
    """Of the paths that lie in others the nearest other: a path and what lies in it are neighbours in order."""
    above: dict[str, str] = {}
    around: list[str] = []
    for path in sorted(filter(None, paths), key=lambda one: f"{one}/"):
        while around and not path.startswith(f"{around[-1]}/"):
            around.pop()
        if around:
            above[path] = around[-1]
        around.append(path)
    return above


def _parents(path: str, above: Mapping[str, str]) -> Iterator[str]:
    while path in above:
        path = above[path]
        yield path
