"""What an object's conditions say of it: the one place that reads `status.conditions` of nodes and pods."""

from collections.abc import Sequence

from netplane.api.objects import Condition, Node, Pod


def told(item: Node | Pod) -> Sequence[Condition]:
    """All that the object says of itself; nothing before anybody reported."""
    return (item.status.conditions if item.status else None) or ()


def ready(item: Node | Pod) -> Condition | None:
    """The Ready condition; None when the object has not said."""
    return next((one for one in told(item) if one.type == "Ready"), None)


def is_ready(item: Node | Pod) -> bool:
    """Whether the object says Ready: True (neither False, nor Unknown, nor nothing)."""
    said = ready(item)
    return said is not None and said.status == "True"
