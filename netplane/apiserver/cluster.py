"""What all handlers of one apiserver share, and how objects are named in the store."""

import datetime
import os
import time
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from netplane.api import kinds
from netplane.api.kinds import Kind
from netplane.apiserver.access.node_index import NodeIndex
from netplane.apiserver.access.tokens import User
from netplane.apiserver.limits.levels import Limits
from netplane.apiserver.peers import Peers
from netplane.apiserver.process.settings import Settings
from netplane.apiserver.verbs.shared import EventCache
from netplane.store.protocol import KV, Store

if TYPE_CHECKING:
    from netplane.apiserver.access.policies import Policies
    from netplane.apiserver.access.service_tokens import Issuer
    from netplane.apiserver.admission.allocation import Allocator
    from netplane.apiserver.audit.events import Auditor


class Closable(Protocol):
    """A running watch."""

    def close(self) -> None:
        """End it cleanly."""
        ...


def now() -> datetime.datetime:
    """The current time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def timestamp(when: datetime.datetime) -> str:
    """As metadata carries times: RFC 3339, whole seconds."""
    return when.isoformat()[:19] + "Z"


def stamp() -> str:
    """The current time as metadata carries it."""
    return _stamped(int(time.time()))


@lru_cache(maxsize=1)
def _stamped(second: int) -> str:
    return timestamp(datetime.datetime.fromtimestamp(second, datetime.UTC))


def new_uid() -> str:
    """A random identity for an object (RFC 9562, version 4)."""
    if not _random:
        many = os.urandom(16 * _UIDS_AT_ONCE)  # one system call for many
        _random.extend(many[i : i + 16].hex() for i in range(0, len(many), 16))
    one = _random.pop()
    return f"{one[:8]}-{one[8:12]}-4{one[13:16]}-{_VARIANT[one[16]]}{one[17:20]}-{one[20:]}"


_UIDS_AT_ONCE = 128
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_random: list[str] = []


def prefix(kind: Kind, namespace: str = "") -> str:
    """Store keys of a kind begin so; with a namespace, only those in it."""
    return f"{_head(kind)}{namespace}/" if namespace else _head(kind)


@cache
def _head(kind: Kind) -> str:
    group = kind.group if kind.stored_in is None else kind.stored_in
    return f"/registry/{group}/{kind.plural}/" if group else f"/registry/{kind.plural}/"


def key(kind: Kind, namespace: str, name: str) -> str:
    """The store key of one object."""
    return f"{_head(kind)}{namespace}/{name}" if kind.namespaced and namespace else _head(kind) + name


def _by_header(users: Mapping[str, User]) -> dict[bytes, User]:
    """Static tokens as most clients send them; others find their user by taking the header apart."""
    return {f"Bearer {token}".encode(): user for token, user in users.items() if token.isascii()}


class Cluster:
    """The state of one apiserver process.

    Attributes:
        allocator: hands out ClusterIPs and node ports.
        policies: who may do what.
        users, known: users by static token, and by the whole header that carries it.
        limits: how much is taken on at once.
        audit: tells the audit log of requests; None when there is none.
        issuer: gives tokens to ServiceAccounts and knows them again.
        peers: the apiservers on this store.
        nodes: what the pods on each node need.
        acting: the way in which each user was let act as somebody else last.
        watches: the watches that are open now; each is ended when the server stops.
        ready: named checks of /readyz and /livez: a function that returns "" or what is wrong.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        users: Mapping[str, User],
        allocator: "Allocator",
        issuer: "Issuer",
        policies: "Policies",
        limits: Limits | None = None,
        audit: "Auditor | None" = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.users = users
        self.known = _by_header(users)
        self.allocator = allocator
        self.issuer = issuer
        self.policies = policies
        self.limits = limits or Limits()
        self.audit = audit
        self.events = EventCache()
        self.peers = Peers(store, settings)
        self.nodes = NodeIndex(store, prefix(kinds.POD))
        self.acting: dict[str, str] = {}
        self.watches: set[Closable] = set()
        self.stopping = False
        self.checks: dict[str, Callable[[], str]] = {"ping": lambda: ""}

    @staticmethod
    def decoded(kv: KV) -> dict[str, Any]:
        """A stored object, without kind and revision: enough for selectors."""
        obj: dict[str, Any] = orjson.loads(kv.value)
        return obj

    def stop(self) -> None:
        """Refuse new watches and end the open ones, so that their clients resume elsewhere or later."""
        self.stopping = True
        self.nodes.close()
        for watch in list(self.watches):
            watch.close()
