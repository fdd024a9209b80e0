"""How an autoscaler is shown: what it looks at, what it finds and what it aims for in one cell (pure)."""

from typing import Any

from netplane.api.table import AGE, NAME, NONE, UNKNOWN, UNSET, Column, Json, Now, Printer, age, get, name

_SOURCES = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _autoscaler(obj: Json, now: Now) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec.get("metrics") or [], status.get("currentMetrics") or []),
        UNSET if least is None else str(least),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(obj, now),
    ]


def _metrics(wanted: list[Json], have: list[Json]) -> str:
    shown = [_metric(one, have[i] if i < len(have) else {}) for i, one in enumerate(wanted)]
    if not shown:
        return NONE
    return ", ".join(shown[:2]) + (f" + {len(shown) - 2} more..." if len(shown) > 2 else "")


def _metric(wanted: Json, have: Json) -> str:
    source = _SOURCES.get(wanted.get("type", ""))
    if source is None:
        return "<unknown type>"
    asked = wanted.get(source) or {}
    target, current = asked.get("target") or {}, get(have, source, "current")
    of_nodes = source in ("resource", "containerResource")
    head = f"{asked.get('name', '')}: " if of_nodes else ""
    if target.get("averageValue") is not None:
        now = get(current, "averageValue") or UNKNOWN
        return f"{head}{now}/{target['averageValue']}{'' if of_nodes or source == 'pods' else ' (avg)'}"
    if not of_nodes:
        return f"{get(current, 'value') or UNKNOWN}/{target.get('value', '<nil>')}"
    use, aim = get(current, "averageUtilization"), target.get("averageUtilization")
    return f"{head}{UNKNOWN if use is None else f'{use}%'}/{'<auto>' if aim is None else f'{aim}%'}"


AUTOSCALER = Printer(
    (
        NAME,
        Column("Reference", "spec.scaleTargetRef"),
        Column("Targets", "spec.metrics"),
        Column("MinPods", "spec.minReplicas"),
        Column("MaxPods", "spec.maxReplicas"),
        Column("Replicas", "status.currentReplicas"),
        AGE,
    ),
    _autoscaler,
)
