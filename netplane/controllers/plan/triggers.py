"""When what a slice tells came about: the earliest change that nobody was told of yet. Source: KEP-752.

Programs that read slices measure by it how long the network takes to follow a change.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netplane.api import conditions
from netplane.api.objects import Pod, Service

Times = Mapping[str, str]


class Trigger(NamedTuple):
    """The time to tell ("" for none), and what to remember for the next time."""

    time: str
    seen: Times


def since(seen: Times | None, service: Service, pods: Iterable[Pod]) -> Trigger:
    """Compare pods' readiness times with those seen last (None: never saw the Service; then it is its creation)."""
    now = {pod.metadata.name: time for pod in pods if (time := _ready_since(pod))}
    if seen is None:
        return Trigger(service.metadata.creation_timestamp or "", now)
    # Times of the API are UTC in whole seconds: they compare as texts.
    return Trigger(min((time for name, time in now.items() if time > seen.get(name, "")), default=""), now)


def _ready_since(pod: Pod) -> str:
    said = conditions.ready(pod)
    return (said.last_transition_time if said is not None else None) or ""
