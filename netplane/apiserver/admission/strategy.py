"""How objects of a kind come to be, change and go. The defaults fit most kinds; the others override (pure).

A strategy is what a row of the registry cannot say. Routes and handlers know neither kinds nor their strategies' names.
"""

from typing import Any

from netplane.api.kinds import Kind
from netplane.apiserver.wire.options import DeleteOptions

Json = dict[str, Any]


class Strategy:
    """One kind's ways.

    Attributes:
        create_on_update: PUT of an object that is missing makes it.
        unconditional_update: PUT without a resourceVersion is taken.
        answers_deleted: DELETE answers with the object, not with a Status.
        counts_generations: metadata.generation starts at 1 and grows when the object's content changes.
        keeps_status: a status given on creation is kept.
        graceful: a deletion gives it time, and marks it in any case.
        not_owned: top fields (as FieldsV1 names them) that a write of the main resource cannot set.
    """

    create_on_update = False
    unconditional_update = True
    answers_deleted = False
    counts_generations = False
    keeps_status = False
    graceful = False

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.has_status = "status" in kind.subresources
        self.not_owned = frozenset({"f:status"} if self.has_status else ())

    def prepare_create(self, obj: Json) -> None:
        """Before defaults: drop what clients may not set."""
        if self.has_status and not self.keeps_status:
            obj.pop("status", None)
        if self.counts_generations:
            obj["metadata"]["generation"] = 1

    def after_defaults(self, obj: Json) -> None:
        """After defaults, before validation, of a new object: what the server itself adds."""

    def prepare_update(self, new: Json, old: Json) -> None:
        """A write of the main resource keeps the status; the generation grows with the content."""
        if self.has_status:
            keep(new, old, "status")

    def after_allocation(self, new: Json, old: Json) -> None:
        """After a write of the main resource got its addresses and ports, before validation."""

    def canonical(self, obj: Json) -> None:
        """After validation, before it is stored."""

    def generation(self, new: Json, old: Json) -> int:
        """metadata.generation of an updated object (0: none)."""
        have = int(old["metadata"].get("generation", 0))
        return have + 1 if self.counts_generations and self.content(new) != self.content(old) else have

    def content(self, obj: Json) -> Any:
        """The part of an object that counts for its generation."""
        return {key: value for key, value in obj.items() if key not in _NOT_CONTENT}

    def reset(self, part: str, new: Json, old: Json) -> None:
        """Before owners are noted: what nobody can set by writing a part, beside what is no part of it at all."""

    def prepare_part(self, part: str, new: Json, old: Json) -> None:
        """A write of a subresource that is a part of the object keeps all else."""
        if part == "status":
            self.prepare_status(new, old)

    def prepare_status(self, new: Json, old: Json) -> None:
        """A write of the status subresource keeps everything else, but for labels, annotations and the like."""
        for field in {*new, *old} - {"status", "metadata", "kind", "apiVersion"}:
            keep(new, old, field)

    def grace_s(self, obj: Json, options: DeleteOptions) -> int:
        """Seconds between the wish to delete and the deletion; 0 deletes at once."""
        return 0

    def mark_deleted(self, obj: Json) -> None:
        """What else changes when an object is marked for deletion and stays for now."""

    def holds(self, obj: Json) -> bool:
        """Whether something keeps a deleted object alive."""
        return bool(obj["metadata"].get("finalizers"))


_NOT_CONTENT = frozenset({"metadata", "status", "kind", "apiVersion"})


def keep(new: Json, old: Json, field: str) -> None:
    """`new` gets `field` as `old` has it."""
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)


def keep_metadata(new: Json, old: Json) -> None:
    """All that a client may change of metadata stays as it was."""
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        keep(new["metadata"], old["metadata"], field)
