"""Request bodies: JSON, YAML or protobuf in, a plain object of the right kind out."""

import math
from collections import Counter
from typing import Any

import orjson
import yaml

from netplane.api import errors, go_json, shapes, typecheck
from netplane.api.kinds import Kind
from netplane.apiserver.wire import negotiate, yaml_bounds
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.target import BY_PATH

Json = dict[str, Any]

ACCEPTED = (negotiate.JSON, negotiate.YAML, negotiate.PROTOBUF)
_KINDS = frozenset((kind.api_version, kind.kind) for kind in BY_PATH.values())


_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


async def read(call: Call, kind: str, api_version: str, *, optional: bool = False) -> Json:
    """The body as an object of `kind`; an empty one is {} when it is optional. Raises StatusError 400, 413, 415."""
    raw = await call.body()
    if not raw and optional:
        return {}
    obj = parse(raw, call.media, kind)
    if call.checks_duplicates and call.media == negotiate.JSON:
        call.duplicates = duplicates(raw)
    elif call.checks_duplicates and call.media == negotiate.YAML:
        call.duplicates = yaml_duplicates(raw)
    _check_head(obj, kind, raw)
    check_kind(obj, kind, api_version)
    return obj


def _check_head(obj: Json, kind: str, raw: bytes) -> None:
    """What an object says it is are texts. Raises StatusError 400, in the words of the decoder that looks at them."""
    for name, value in obj.items():
        if name in ("kind", "apiVersion") and value is not None and not isinstance(value, str):
            why = f"json: cannot unmarshal {_go_type(value)} into Go struct field .{name} of type string"
            raise _unrecognized(kind, why, raw)


def read_delete_options(call: Call, raw: bytes) -> Json:
    """DeleteOptions, whose decoder words its refusals in a way of its own. Raises StatusError 400, 415."""
    try:
        obj = json_document(raw) if call.media == negotiate.JSON else parse(raw, call.media, "DeleteOptions")
    except go_json.GoJSONError as error:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {error}") from error
    if obj is None:
        return {}
    if not isinstance(obj, dict):
        why = f"json: cannot unmarshal {_go_type(obj)} into Go value of type {_META}"
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {why}")
    version, kind = obj.get("apiVersion") or "meta.k8s.io/v1", obj.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        raise errors.bad_request(
            f'no kind "{kind}" is registered for version "{version}" in scheme "{_OPTIONS_SCHEME}"'
        )
    obj = drop_nulls(obj)
    try:
        typecheck.clean_as(shapes.of_name("", "v1", "DeleteOptions"), obj)
    except typecheck.WrongType as error:
        raise errors.bad_request(str(error)) from error
    return dict(obj)


_OPTIONS_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"


def check_types(obj: Json, group: str, version: str, kind: str) -> None:
    """Refuse wrong types in a body that is no stored kind. Raises StatusError 400."""
    try:
        typecheck.clean_as(shapes.of_name(group, version, kind), obj)
    except typecheck.WrongType as error:
        api_version = f"{group}/{version}" if group else version
        raise errors.cannot_handle(kind, api_version, str(error)) from error


def parse(raw: bytes, media: str, kind: str) -> Json:
    """Decode by media type. `kind` is what messages call the object. Raises StatusError 400, 415."""
    if media == negotiate.JSON:
        obj = _json(raw, kind)
    elif media == negotiate.YAML:
        obj = yaml_document(raw, kind)
    elif media == negotiate.PROTOBUF:
        from netplane.api import protobuf  # noqa: PLC0415 - its table is loaded when the first such client comes

        obj = protobuf.decode(raw)
    else:
        raise errors.unsupported_media_type(ACCEPTED)
    if obj is None:
        return {}  # as a typed decoder takes it
    if not isinstance(obj, dict):
        raise _unrecognized(kind, f"json: cannot unmarshal {_go_type(obj)} into Go value of type {_META}", raw)
    return obj


def json_document(raw: bytes) -> Any:
    """A JSON text as Go reads it. Raises GoJSONError, which says what Go would say."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return go_json.loads(raw)


def _json(raw: bytes, kind: str) -> Any:
    try:
        return json_document(raw)
    except go_json.GoJSONError as error:
        raise _unrecognized(kind, str(error), raw) from error


def duplicates(raw: bytes) -> list[str]:
    """What to say of members that a JSON text gives twice (the last one counts). Raises StatusError 400."""
    found: dict[str, None] = {}
    try:
        _twice(go_json.built(raw, _Pairs), "", found)
    except RecursionError:
        raise errors.bad_request(go_json.TOO_DEEP) from None
    return [f'duplicate field "{go_json.writable(path)}"' for path in found]


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, so that repetitions show."""


def _twice(node: Any, path: str, found: dict[str, None]) -> None:
    if isinstance(node, _Pairs):
        times = Counter(name for name, _ in node)
        for name, value in node:
            where = f"{path}.{name}" if path else name
            if times[name] > 1:
                found[where] = None
            _twice(value, where, found)
    elif isinstance(node, list):
        for i, one in enumerate(node):
            _twice(one, f"{path}[{i}]", found)


class _Loader(yaml.CSafeLoader):
    """YAML as JSON knows it: times stay text, bytes become it, and so do keys."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        """The value of a mapping. Raises ConstructorError for keys that no text stands for."""
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(problem="expected a mapping", problem_mark=node.start_mark)
        self.flatten_mapping(node)
        pairs = ((self.construct_object(key, deep=True), value) for key, value in node.value)
        return {_key(key): self.construct_object(value, deep=deep) for key, value in pairs}

    def construct_bytes(self, node: yaml.ScalarNode) -> str:
        """`!!binary`, as text."""
        raw: bytes = self.construct_yaml_binary(node)
        return raw.decode("utf-8", "replace")

    def construct_whole(self, node: yaml.ScalarNode) -> int | float:
        """A number without a fraction; one of more than 64 bits is a double. Raises ValueError for a larger one."""
        number: int = self.construct_yaml_int(node)
        try:
            return number if -(1 << 63) <= number < 1 << 64 else float(number)
        except OverflowError:
            raise ValueError(_INFINITE) from None

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Any other. Raises ValueError for what JSON does not have."""
        number: float = self.construct_yaml_float(node)
        if not math.isfinite(number):
            raise ValueError(_INFINITE if math.isinf(number) else "json: unsupported value: NaN")
        return number


_INFINITE = "json: unsupported value: Inf"


def _key(key: Any) -> str:
    """A key as Go's YAML library turns it into one of JSON. Raises ConstructorError."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return repr(key).removesuffix(".0")
    raise yaml.constructor.ConstructorError(problem="unsupported map key")


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    **yaml.CSafeLoader.yaml_constructors,
    "tag:yaml.org,2002:binary": _Loader.construct_bytes,
    "tag:yaml.org,2002:int": _Loader.construct_whole,
    "tag:yaml.org,2002:float": _Loader.construct_number,
    "tag:yaml.org,2002:set": _Loader.construct_yaml_map,
    "tag:yaml.org,2002:timestamp": _Loader.construct_yaml_str,
}


def yaml_document(raw: bytes, kind: str) -> Any:
    """One YAML document. Raises StatusError 400."""
    try:
        return yaml_value(raw)
    except ValueError as error:
        raise _unrecognized(kind, str(error), raw) from error


def yaml_value(raw: bytes) -> Any:
    """The first YAML document; what follows is not read. Raises ValueError, in the words of Go's YAML library."""
    try:
        yaml_bounds.check(raw)
        return next(yaml.load_all(raw, Loader=_Loader), None)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"error converting YAML to JSON: yaml: {_yaml_problem(error)}") from error


def _yaml_problem(error: Exception) -> str:
    """Where a YAML text goes wrong, and how. Go's library names the line only if it is not the first."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.context_mark if error.context_mark is not None and error.context_mark.line else error.problem_mark
    line = mark.line if mark is not None else 0
    line += bool(line) and isinstance(error, yaml.scanner.ScannerError)
    return (f"line {line}: " if line else "") + (error.problem or "unknown problem parsing YAML content")


def yaml_duplicates(raw: bytes) -> list[str]:
    """What to say of keys that a YAML text gives twice (the last one counts)."""
    found: list[str] = []
    todo = [_first_node(raw)]
    while todo:
        node = todo.pop()
        if isinstance(node, yaml.MappingNode):
            seen = set[str]()
            for key, value in node.value:
                if key.value in seen:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                seen.add(key.value)
                todo.append(value)
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value
    return sorted(found, key=lambda one: int(one.split(":")[0].removeprefix("line ")))


def _first_node(raw: bytes) -> Any:
    """The first document, not built; None when there is none."""
    loader = _Loader(raw)
    try:
        return loader.get_node() if loader.check_node() else None
    finally:
        loader.dispose()


def _unrecognized(kind: str, why: str, raw: bytes) -> errors.StatusError:
    shown = _summary(raw)
    return errors.bad_request(
        f"the object provided is unrecognized (must be of type {kind}): "
        f"couldn't get version/kind; json parse error: {why} ({shown})"
    )


SHOWN_BYTES = 30


def _summary(raw: bytes) -> str:
    """The beginning of a body: JSON as it is, anything else in hexadecimal."""
    if not raw:
        return "<empty>"
    start = raw[:SHOWN_BYTES]
    text = start.decode("utf-8", "replace") if raw.startswith(b"{") else start.hex()
    return text + (" ..." if len(raw) > SHOWN_BYTES else "")


def _go_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    return names.get(type(value), "null")


def drop_nulls(value: Any) -> Any:
    """Without null members: a typed decoder does not tell them from absent ones."""
    if isinstance(value, dict):
        return {key: drop_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [drop_nulls(one) for one in value]
    return value


def check_kind(obj: Json, kind: str, api_version: str) -> None:
    """Fill in a missing kind and apiVersion; refuse others. Raises StatusError 400."""
    have_kind = obj["kind"] = obj.get("kind") or kind
    have_version = obj["apiVersion"] = obj.get("apiVersion") or api_version
    if have_kind == kind and have_version == api_version:
        return
    if not isinstance(have_kind, str) or not isinstance(have_version, str):
        raise errors.bad_request("kind and apiVersion must be strings")
    if (have_version, have_kind) in _KINDS:
        have = f"{_package(have_version)}.{have_kind}"
        why = f"converting ({have}) to ({_internal(api_version)}.{kind}): unknown conversion"
    else:
        why = f'no kind "{have_kind}" is registered for version "{have_version}" in scheme "{_SCHEME}"'
    raise errors.cannot_handle(have_kind, have_version, why, kind)


_SCHEME = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"


def _package(api_version: str) -> str:
    return api_version.rpartition("/")[2]


def _internal(api_version: str) -> str:
    group = api_version.rpartition("/")[0]
    return group.split(".")[0] if group else "core"


def of_kind(kind: Kind) -> tuple[str, str]:
    """Arguments of `read` for a kind."""
    return kind.kind, kind.api_version
