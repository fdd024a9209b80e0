"""What an object's conditions say of it: the one place that reads `status.conditions` of nodes and pods."""

from netplane.api.objects import Condition, Node, Pod


def ready(item: Node | Pod) -> Condition | None:
    """The Ready condition; None when the object has not said."""
    conditions = (item.status.conditions if item.status else None) or ()
    return next((one for one in conditions if one.type == "Ready"), None)


def is_ready(item: Node | Pod) -> bool:
    """Whether the object says Ready: True (neither False, nor Unknown, nor nothing)."""
    said = ready(item)
    return said is not None and said.status == "True"
