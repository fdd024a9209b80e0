"""Where the store's keys lie in etcd, and which of etcd's revisions they have (pure).

    PREFIX/!head                         which generation holds, as JSON: {"generation": 1, "base": 1}
    PREFIX/!fence                        written to learn that a watch has come that far; its value means nothing
    PREFIX/1/registry/services/a/b       key /registry/services/a/b of generation 1

A restore writes a generation of its own beside the one that is served, then rewrites the head: one write, and all
apiservers go over to it. Every transaction compares the head's revision, so none lands in a generation that is over.

Revisions are etcd's, moved by a constant: the head was written at `base`. So a store in an etcd of its own begins at
revision 1 like every other, and a restored one above all revisions that clients may have seen before, whatever etcd's
own counter says.
"""

from typing import Any, NamedTuple

import orjson

from netplane.store.etcd import messages as pb
from netplane.store.protocol import KV, Compare, Delete, Put, StoreError, prefix_end


class Head(NamedTuple):
    """The generation that holds; `at` is etcd's revision of the head, `base` the store's."""

    generation: int
    base: int
    at: int

    @staticmethod
    def encoded(generation: int, base: int) -> bytes:
        """Its value."""
        return orjson.dumps({"generation": generation, "base": base})

    @classmethod
    def decoded(cls, value: bytes, at: int) -> "Head":
        """From its key. Raises StoreError when something else wrote it."""
        try:
            found = orjson.loads(value)
            return cls(int(found["generation"]), int(found["base"]), at)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"what is in etcd was not written by this program: {value[:80]!r}", hint="give another --etcd-prefix"
            ) from error


class Space:
    """Keys and revisions of one generation, there and back."""

    def __init__(self, prefix: str, head: Head) -> None:
        self.head = head
        self.root = f"{prefix}/{head.generation}".encode()
        self.moved = head.base - head.at
        self._root_length = len(self.root)
        self._guard = pb.Compare(target=pb.MOD, key=head_key(prefix), mod_revision=head.at)

    def key(self, key: str) -> bytes:
        """As etcd knows it."""
        return self.root + key.encode()

    def holds(self, key: bytes) -> bool:
        """Whether an etcd key is one of this generation's."""
        return key.startswith(self.root + b"/")

    def name(self, key: bytes) -> str:
        """As the store knows it."""
        return key[self._root_length :].decode()

    def kv(self, found: Any) -> KV:
        """A key-value pair as the store knows it."""
        moved = self.moved
        return KV(self.name(found.key), found.value, found.mod_revision + moved, found.create_revision + moved)

    def reads(self, prefix: str, start: str) -> tuple[bytes, bytes]:
        """First key and end of a range."""
        return self.key(max(prefix, start)), self.key(prefix_end(prefix)) if prefix else self.root + b"0"

    def txn(self, compares: list[Compare], ops: list[Put | Delete]) -> Any:
        """A transaction; where it fails it reads what was compared, and the head first."""
        named = [(self.key(one.key), one.mod_rev - self.moved if one.mod_rev else 0) for one in compares]
        return pb.TxnRequest(
            compare=[self._guard, *(pb.Compare(target=pb.MOD, key=key, mod_revision=rev) for key, rev in named)],
            success=[self._op(op) for op in ops],
            failure=[
                pb.RequestOp(request_range=pb.RangeRequest(key=key))
                for key in (self._guard.key, *(k for k, _ in named))
            ],
        )

    def _op(self, op: Put | Delete) -> Any:
        if isinstance(op, Put):
            return pb.RequestOp(request_put=pb.PutRequest(key=self.key(op.key), value=op.value))
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=self.key(op.key)))


def head_key(prefix: str) -> bytes:
    """Where the head lies."""
    return f"{prefix}/!head".encode()


def fence_key(prefix: str) -> bytes:
    """Where the fence lies."""
    return f"{prefix}/!fence".encode()


def everything(prefix: str) -> tuple[bytes, bytes]:
    """First key and end of all that is ours."""
    return f"{prefix}/".encode(), f"{prefix}0".encode()
