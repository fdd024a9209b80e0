"""GET of an object, and of a collection: consistent, at a revision, or in chunks."""

from netplane.api import codec, errors, names
from netplane.api.kinds import Kind
from netplane.apiserver import cluster
from netplane.apiserver.verbs import filtering
from netplane.apiserver.verbs.show import Shower
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.negotiate import Form
from netplane.apiserver.wire.options import (
    NEWEST,
    ListOptions,
    Position,
    decode_token,
    encode_token,
    list_options,
    revision,
)
from netplane.apiserver.wire.reply import Reply
from netplane.store.protocol import KV, Compacted, FutureRevision

PAGE = 500


def shower(call: Call) -> Shower:
    """How this client wants its answer."""
    return Shower(call.kind, call.form, call.query.get("includeObject", ""), cluster.now)


async def stored(call: Call) -> KV:
    """The object that the path names. Raises StatusError 400 for what is no name, 404."""
    kv = await call.cluster.store.get(cluster.key(call.kind, call.target.namespace, call.target.name))
    if kv is None:
        raise absent(call.kind, call.target.name)
    return kv


def absent(kind: Kind, name: str) -> errors.StatusError:
    """There is no such object, or there cannot be one."""
    if problems := names.path_segment(name):
        return errors.bad_request(f'Name parameter invalid: "{name}": {";".join(problems)}')
    return errors.not_found(kind.group, kind.plural, name)


async def get(call: Call) -> Reply:
    """One object. Raises StatusError 404."""
    kv = await stored(call)
    if call.query and (rev := revision(call.query)) and rev > (current := await call.cluster.store.current_rev()):
        raise errors.too_large_resource_version(rev, current)
    return Reply(one(call, kv.value, kv.mod_rev))


def one(call: Call, value: bytes, rev: int) -> bytes:
    """An object as this client wants it: nearly always as it is."""
    return codec.object_bytes(call.kind, value, rev) if call.form is Form.OBJECT else shower(call).one(value, rev)


async def listing(call: Call) -> Reply:
    """A collection. Raises StatusError 400, 410, 422, 504."""
    found = await page(call)
    return Reply(shower(call).many(found.kvs, found.rev, found.token, found.remaining))


async def page(call: Call) -> "Page":
    """What the query of a list asks for."""
    options = list_options(call.query, watch=False)
    wanted = filtering.of(call.kind, options)
    namespace = call.target.namespace if call.kind.namespaced else ""
    return await _page(call, options, wanted, cluster.prefix(call.kind, namespace))


class Page:
    """A chunk of a list: all of it when `token` is empty."""

    def __init__(self, kvs: list[KV], rev: int, token: str = "", remaining: int = 0) -> None:
        self.kvs, self.rev, self.token, self.remaining = kvs, rev, token, remaining


async def _page(call: Call, options: ListOptions, wanted: filtering.Filter, prefix: str) -> Page:
    rev, start = await _where(call, options, prefix)
    limit = 0 if options.rev == 0 else options.limit
    try:
        if wanted.all:
            return await _plain(call, prefix, rev, start, limit)
        return await _selected(call, wanted, prefix, rev, start, limit)
    except Compacted as error:
        if not options.token:
            raise errors.expired() from error
        go_on = Position(NEWEST, decode_token(options.token).start)
        raise errors.continue_expired(encode_token(go_on)) from error
    except FutureRevision as error:
        raise errors.too_large_resource_version(rev, error.rev) from error


async def _where(call: Call, options: ListOptions, prefix: str) -> tuple[int, str]:
    """The revision to read at (0: now) and the key to begin with."""
    if options.token:
        position = decode_token(options.token)
        if options.rev:
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        return max(position.rev, 0), prefix + position.start.lstrip("/")
    rev = options.rev or 0
    if not rev:
        return 0, ""
    if options.match == "Exact" or (options.limit and not options.match):
        return rev, ""
    current = await call.cluster.store.current_rev()
    if rev > current:
        raise errors.too_large_resource_version(rev, current)
    return 0, ""


async def _plain(call: Call, prefix: str, rev: int, start: str, limit: int) -> Page:
    found = await call.cluster.store.range(prefix, rev=rev, start=start, limit=limit)
    if not found.more:
        return Page(found.kvs, found.rev)
    token = _token(prefix, found.kvs[-1], found.rev)
    return Page(found.kvs, found.rev, token, found.count - len(found.kvs))


async def _selected(call: Call, wanted: filtering.Filter, prefix: str, rev: int, start: str, limit: int) -> Page:
    """Read on until `limit` objects match; how many more would is not known."""
    store = call.cluster.store
    kvs: list[KV] = []
    if wanted.name and (call.target.namespace or not call.kind.namespaced):
        kv = await store.get(prefix + wanted.name, rev)
        kvs = [kv] if kv is not None and wanted.wants(kv.value) else []
        return Page(kvs, rev or await store.current_rev())
    while True:
        found = await store.range(prefix, rev=rev, start=start, limit=PAGE if limit else 0)
        rev = found.rev
        for kv in wanted.perhaps(found.kvs):
            if wanted.wants(kv.value):
                kvs.append(kv)
                if limit and len(kvs) == limit and (found.more or kv is not found.kvs[-1]):
                    return Page(kvs, rev, _token(prefix, kv, rev))
        if not found.more:
            return Page(kvs, rev)
        start = found.kvs[-1].key + "\0"


def _token(prefix: str, last: KV, rev: int) -> str:
    return encode_token(Position(rev, "/" + last.key[len(prefix) :] + "\0"))
