"""The objects that a plan is made of: from Kubernetes YAML files, or from an apiserver."""

import asyncio
import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from netplane.api.objects import EndpointSlice, Node, Object, Service, ServiceCIDR
from netplane.errors import UsageError, reason

KINDS: dict[str, type[Object]] = {cls.__name__: cls for cls in (Service, EndpointSlice, Node, ServiceCIDR)}


class Objects(NamedTuple):
    """What a service proxy reads. `ignored` counts documents of other kinds."""

    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    nodes: tuple[Node, ...] = ()
    service_cidrs: tuple[ServiceCIDR, ...] = ()
    ignored: int = 0

    def node(self, name: str) -> Node | None:
        """A node by name."""
        return next((node for node in self.nodes if node.metadata.name == name), None)


def of_files(files: Sequence[Path]) -> Objects:
    """All objects of YAML or JSON files (`-` is stdin): any number of documents, lists among them.

    Raises:
        UsageError: naming file, object and field.
    """
    found = [item for file in files for item in _documents(file)]
    read = [item for item in found if item is not None]
    return _sorted(read, ignored=len(found) - len(read))


def _sorted(items: Iterable[Object], ignored: int = 0) -> Objects:
    # The last object of a name wins, as it does when the file is applied.
    last = {(type(item), item.key): item for item in items}.values()
    return Objects(
        tuple(item for item in last if isinstance(item, Service)),
        tuple(item for item in last if isinstance(item, EndpointSlice)),
        tuple(item for item in last if isinstance(item, Node)),
        tuple(item for item in last if isinstance(item, ServiceCIDR)),
        ignored,
    )


def _documents(file: Path) -> Iterator[Object | None]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        documents = list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # both are safe
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: {reason(error)}", hint="give Kubernetes objects as YAML or JSON") from error
    for number, document in enumerate(documents, 1):
        if document is not None:
            yield from _objects(file, f"document {number}", document)


def _objects(file: Path, where: str, document: Any) -> Iterator[Object | None]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise UsageError(f"{file}: {where}: kind is missing", hint="every document must be a Kubernetes object")
    if document["kind"].endswith("List"):
        only = document["kind"].removesuffix("List")
        for number, item in enumerate(document.get("items") or (), 1):
            # Items of a typed list do not say their kind again.
            known = {"kind": only, **item} if only and isinstance(item, dict) else item
            yield from _objects(file, f"{where}, item {number}", known)
        return
    cls = KINDS.get(document["kind"])
    yield None if cls is None else _object(file, document, cls)


def _object(file: Path, document: dict[str, Any], cls: type[Object]) -> Object:
    metadata = document.get("metadata")
    said = metadata if isinstance(metadata, dict) else {}
    if cls in (Service, EndpointSlice):
        said.setdefault("namespace", "default")
    try:
        return msgspec.convert(document, cls)
    except msgspec.ValidationError as error:
        why, _, field = str(error).partition(" - at `$.")
        name = f"{cls.__name__} {said.get('namespace', '')}/{said.get('name', '?')}".replace(" /", " ")
        raise UsageError(f"{file}: {name}: {field.rstrip('`')}: {why}", hint="correct that field") from error


def of_apiserver(kubeconfig: str, master: str) -> Objects:
    """Everything the proxy would read. Raises UsageError or ApiError."""
    from netplane.client import config  # noqa: PLC0415 - costs 0.1 s, and files need none of it
    from netplane.client import errors as failures  # noqa: PLC0415
    from netplane.client.api import Api  # noqa: PLC0415

    connection = config.load(kubeconfig, server=master)

    async def read() -> Objects:
        async with Api(connection, agent="netplane") as api:
            found: list[Object] = []
            for cls in (Service, EndpointSlice, Node):
                found += (await api.list(cls)).items
            with contextlib.suppress(failures.ApiError):  # older servers have none; the proxy does without, too
                found += (await api.list(ServiceCIDR)).items
            return _sorted(found)

    return asyncio.run(read())
