"""Extracts field numbers and types of Kubernetes' protobuf messages; run at development time only.

    python -m netplane.api.protobuf.build FOLDER      # holds the Go modules api and apimachinery of k8s.io, v0.36.3

Two sources, joined by message and number: generated.proto says types, types.go says how a field looks in JSON (its
name, inlined or not), whether it is a pointer, so that "false" is told from "not said", and the name of its type where
it is a string or the like by another name. Only facts are kept.
"""

import gzip
import json
import re
import sys
from pathlib import Path

_GROUPS = (
    "core/v1", "discovery/v1", "networking/v1", "coordination/v1", "apps/v1", "batch/v1", "rbac/v1", "events/v1",
    "policy/v1", "authentication/v1", "authorization/v1", "autoscaling/v1", "autoscaling/v2", "storage/v1",
    "scheduling/v1", "resource/v1", "certificates/v1", "admissionregistration/v1", "node/v1",
)  # fmt: skip
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_SPECIAL = {
    f"{_META}.Time": "time",
    f"{_META}.MicroTime": "microtime",
    f"{_META}.Duration": "duration",
    f"{_META}.FieldsV1": "json",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "json",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "intorstring",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
}
_SCALARS = {"string": "string", "bytes": "bytes", "bool": "bool", "double": "double"} | dict.fromkeys(
    ("int32", "int64", "uint32", "uint64"), "int"
)

_MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+(optional|repeated|map<\w+, ([\w.]+)>)\s*([\w.]*) ?(\w+) = (\d+);", re.MULTILINE)
_STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r'^\s+(?:\w+ +)?(\S+) +`[^`]*?json:"([^"]*)"[^`]*?protobuf:"\w+,(\d+)', re.MULTILINE)
_NAMED = re.compile(r"^type (\w+) (?!struct|interface)[\w\[]", re.MULTILINE)
_GO_TYPE = re.compile(r"\*?((?:\[\])?)(?:(\w+)\.)?(\w+)")

Field = list[str]


def messages(text: str, package: str) -> dict[str, dict[str, Field]]:
    """Message → number → [JSON name, type, flags], as far as a .proto file says it."""
    out: dict[str, dict[str, Field]] = {}
    for name, body in _MESSAGE.findall(text):
        out[f"{package}.{name}"] = {
            number: [
                field,
                ("map:" if value else "") + _type(value or kind, package),
                "r" if label == "repeated" else "",
            ]
            for label, value, kind, field, number in _FIELD.findall(body)
        }
    return out


def _type(name: str, package: str) -> str:
    if name in _SCALARS:
        return _SCALARS[name]
    full = name[1:] if name.startswith(".") else name if name.startswith("k8s.io.") else f"{package}.{name}"
    return _SPECIAL.get(full, full)


def refine(table: dict[str, dict[str, Field]], text: str, package: str, names: set[str]) -> None:
    """Add what the Go types know. Flags: r repeated, i inlined, p pointer, k kept when empty.

    `names` are those of strings, numbers, lists and maps that have one, whichever package they are in.
    """
    for name, body in _STRUCT.findall(text):
        fields = table.get(f"{package}.{name}", {})
        for kind, tag, number in _MEMBER.findall(body):
            if number in fields:
                json_name, *options = tag.split(",")
                field = fields[number]
                field[0] = json_name or field[0]
                field[2] += "i" if "inline" in options else ""
                field[2] += "p" if kind.startswith("*") else ""
                field[2] += "k" if "omitempty" not in options and "inline" not in options else ""
                field += _go_type(kind, package, names)


def _go_type(kind: str, package: str, names: set[str]) -> list[str]:
    """[what Go calls a field's type], [] for one that has no name of its own."""
    parts = _GO_TYPE.fullmatch(kind)
    if parts is None or parts[3] not in names:
        return []
    version = package.rpartition(".")[2]
    return [f"{parts[1]}{'types' if parts[2] == 'types' else 'v1' if parts[2] else version}.{parts[3]}"]


def extract(root: Path) -> dict[str, object]:
    """The whole table: messages, and the message of every served apiVersion and kind."""
    table: dict[str, dict[str, Field]] = {}
    kinds: dict[str, str] = {}
    names = {"UID", "NodeName"}
    folders = [(f"api/{group}", f"k8s.io.api.{group.replace('/', '.')}") for group in _GROUPS]
    folders.append(("apimachinery/pkg/apis/meta/v1", _META))
    sources = {
        package: [one.read_text() for one in sorted((root / folder).glob("*types*.go"))] for folder, package in folders
    }
    names |= {name for texts in sources.values() for text in texts for name in _NAMED.findall(text)}
    for folder, package in folders:
        found = messages((root / folder / "generated.proto").read_text(), package)
        table |= found
        for text in sources[package]:
            refine(table, text, package, names)
        group = re.search(r'GroupName = "([^"]*)"', (root / folder / "register.go").read_text())
        served = folder.rpartition("/")[2]
        version = f"{group[1]}/{served}" if group and group[1] else served
        for name, fields in found.items():
            if fields.get("1", [""])[0] == "metadata" or package == _META:
                kinds.setdefault(f"{version} {name.rpartition('.')[2]}", name)
    reached = _reached(table, set(kinds.values()))
    return {"kinds": kinds, "messages": {name: table[name] for name in sorted(reached)}}


def _reached(table: dict[str, dict[str, Field]], todo: set[str]) -> set[str]:
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in table and name not in seen:
            seen.add(name)
            todo |= {field[1].removeprefix("map:") for field in table[name].values()}
    return seen


def main() -> None:
    """Write the table beside this file."""
    table = extract(Path(sys.argv[1]))
    body = json.dumps(table, separators=(",", ":"), sort_keys=True).encode()
    Path(__file__).with_name("fields.json.gz").write_bytes(gzip.compress(body, 9, mtime=0))


if __name__ == "__main__":
    main()
