"""Does a pod put up with a taint? Source: the API's definition of tolerations."""

from collections.abc import Mapping
from typing import Any

from netplane.api.objects import Taint


def tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """Whether one toleration covers a taint, for however long. An empty effect covers every effect."""
    if toleration.get("effect") and toleration["effect"] != (taint.effect or "NoSchedule"):
        return False
    if toleration.get("operator") == "Exists":
        return not toleration.get("key") or toleration["key"] == taint.key
    return toleration.get("key") == taint.key and (toleration.get("value") or "") == taint.value
