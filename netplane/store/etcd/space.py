"""Where the store's keys lie in etcd, and which of etcd's revisions they have (pure).

    PREFIX/!head                         which generation holds, as JSON: {"generation": 1, "base": 1}
    PREFIX/!fence                        written to learn that a watch has come that far; its value means nothing
    PREFIX/!deleted                      places of deletions, see below: {"/registry/services/a/c": 3}
    PREFIX/1/registry/services/a/b       key /registry/services/a/b of generation 1

A restore writes a generation of its own beside the one that is served, then rewrites the head: one write, and all
apiservers go over to it. Every transaction compares the head's revision, so none lands in a generation that is over.

Several of our transactions share one of etcd's, and its revision. Each has a place in it, and with that a revision of
its own: there are STEP of ours to one of etcd's.

    etcd's revision     41                  42                        43
    our transactions    one                 three at once             one
    our revisions       base + 128          base + 256, 257, 258      base + 384        the head was written at 40

A value carries its transaction's place in its first byte, 0x80 | place. Place 0 has no such byte, unless the value
begins like one. What is deleted has no value: places of deletions but 0 are told by a key of their own, written with
them. So a store in an etcd of its own begins at revision 1 like every other, and a restored one above all revisions
that clients may have seen before, whatever etcd's own counter says.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from netplane.store.etcd import messages as pb
from netplane.store.protocol import KV, RESTORE_GAP, Compare, Delete, Put, StoreError, prefix_end

STEP = 128
"""As many of our transactions may share one of etcd's."""

GAP = RESTORE_GAP * STEP
_MARK = 0x80


class Asked(NamedTuple):
    """One transaction of ours."""

    compares: Sequence[Compare]
    ops: Sequence[Put | Delete]


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
        self._root_length = len(self.root)
        self._deleted = deleted_key(prefix)
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

    def rev(self, etcd_rev: int, place: int = 0) -> int:
        """The revision of the transaction at a place in etcd's."""
        return self.head.base + (etcd_rev - self.head.at) * STEP + place

    def last_rev(self, etcd_rev: int) -> int:
        """The last revision that there can be in one of etcd's."""
        return self.rev(etcd_rev, STEP - 1)

    def etcd_rev(self, rev: int) -> int:
        """Etcd's revision that ours is in."""
        return (rev - self.head.base) // STEP + self.head.at

    def kv(self, found: Any) -> KV:
        """A key-value pair as the store knows it; once changed, its creation is known to etcd's revision."""
        place, value = decoded(found.value)
        rev = self.rev(found.mod_revision, place)
        made = rev if found.create_revision == found.mod_revision else self.rev(found.create_revision)
        return KV(self.name(found.key), value, rev, made)

    def deletions(self, found: Iterable[Any]) -> dict[tuple[int, bytes], int]:
        """(etcd's revision, key) → the deletion's place, of those among events that have one but 0."""
        told = (one.kv for one in found if one.kv.key == self._deleted)
        return {
            (kv.mod_revision, self.key(name)): place for kv in told for name, place in orjson.loads(kv.value).items()
        }

    def reads(self, prefix: str, start: str) -> tuple[bytes, bytes]:
        """First key and end of a range."""
        return self.key(max(prefix, start)), self.key(prefix_end(prefix)) if prefix else self.root + b"0"

    def txn(self, asked: Sequence[Asked]) -> Any:
        """Transactions, each with an outcome of its own, in one of etcd's. None may touch what another writes.

        Each is a transaction within: where it fails it reads what was compared. If the head is another, all fail.
        """
        gone = {op.key: i for i, one in enumerate(asked) if i for op in one.ops if isinstance(op, Delete)}
        success = [pb.RequestOp(request_txn=self._inner(one, i)) for i, one in enumerate(asked)]
        if gone:
            success.append(pb.RequestOp(request_put=pb.PutRequest(key=self._deleted, value=orjson.dumps(gone))))
        return pb.TxnRequest(compare=[self._guard], success=success)

    def _inner(self, one: Asked, place: int) -> Any:
        named = [(self.key(each.key), self.etcd_rev(each.mod_rev) if each.mod_rev else 0) for each in one.compares]
        return pb.TxnRequest(
            compare=[pb.Compare(target=pb.MOD, key=key, mod_revision=rev) for key, rev in named],
            success=[self._op(op, place) for op in one.ops],
            failure=[pb.RequestOp(request_range=pb.RangeRequest(key=key)) for key, _ in named],
        )

    def _op(self, op: Put | Delete, place: int) -> Any:
        if isinstance(op, Put):
            return pb.RequestOp(request_put=pb.PutRequest(key=self.key(op.key), value=encoded(op.value, place)))
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=self.key(op.key)))


def encoded(value: bytes, place: int = 0) -> bytes:
    """A value as it lies in etcd."""
    if not place and (not value or value[0] < _MARK):
        return value
    return bytes((_MARK | place,)) + value


def decoded(value: bytes) -> tuple[int, bytes]:
    """(place, value)."""
    return (value[0] ^ _MARK, value[1:]) if value and value[0] >= _MARK else (0, value)


def head_key(prefix: str) -> bytes:
    """Where the head lies."""
    return f"{prefix}/!head".encode()


def fence_key(prefix: str) -> bytes:
    """Where the fence lies."""
    return f"{prefix}/!fence".encode()


def deleted_key(prefix: str) -> bytes:
    """Where places of deletions lie."""
    return f"{prefix}/!deleted".encode()


def everything(prefix: str) -> tuple[bytes, bytes]:
    """First key and end of all that is ours."""
    return f"{prefix}/".encode(), f"{prefix}0".encode()
