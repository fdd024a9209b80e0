"""Protobuf messages from a table of text: no compiler, no generated code.

A line is `Name: field number kind, …`, kinds being scalars, another message of the table, and `*` for repeated. Members
of a oneof are plain fields here: on the wire they are the same, as long as each is set alone.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
}


def classes(package: str, table: str) -> dict[str, Any]:
    """Message classes by name. `package` is the protobuf one; a field without a kind is a string.

    Raises ValueError or TypeError where the table is no such table.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"netplane/{package}.proto", package=package, syntax="proto3")
    for line in table.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for text in filter(None, (part.strip() for part in fields.split(","))):
            _add(message, package, text)
    pool = descriptor_pool.DescriptorPool()  # of its own: another client in this process may have the same names
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"{package}.{message.name}") for message in file.message_type)
    return {one.name: message_factory.GetMessageClass(one) for one in found}


def _add(message: Any, package: str, text: str) -> None:
    name, number, kind = [*text.split(), "string"][:3]
    label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    kind = kind.lstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
