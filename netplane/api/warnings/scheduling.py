"""Where a pod may run, said in a way that is out of date or matches nothing (pure)."""

from typing import Any

Json = dict[str, Any]

_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_REQUIRED, _PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
_NULL = "a null labelSelector results in matching no pod"


def warnings(spec: Json, path: str) -> list[str]:
    """Labels of nodes by their former names; selectors that are not there."""
    found = [f"{path}.nodeSelector[{key}]: {old}" for key in spec.get("nodeSelector") or {} if (old := _former(key))]
    affinity = spec.get("affinity") or {}
    found += _nodes(affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity")
    for i, one in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}.topologySpreadConstraints[{i}]", one.get("topologyKey") or ""
        found += [f"{at}.topologyKey: {key} is {old}"] if (old := _former(key)) else []
        found += [f"{at}.labelSelector: {_NULL}"] if one.get("labelSelector") is None else []
    return found


def of_pods(spec: Json, path: str) -> list[str]:
    """Affinities to pods that no pod has."""
    affinity = spec.get("affinity") or {}
    return [
        text
        for field in ("podAffinity", "podAntiAffinity")
        for text in _pods(affinity.get(field) or {}, f"{path}.affinity.{field}")
    ]


def _former(key: str) -> str:
    if key not in _LABELS:
        return ""
    since, now = _LABELS[key]
    return f'deprecated since {since}; use "{now}" instead'


def _nodes(affinity: Json, path: str) -> list[str]:
    terms = [
        (f"{path}.{_REQUIRED}.nodeSelectorTerms[{i}]", one)
        for i, one in enumerate((affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ())
    ]
    terms += [
        (f"{path}.{_PREFERRED}[{i}].preference", one.get("preference") or {})
        for i, one in enumerate(affinity.get(_PREFERRED) or ())
    ]
    return [
        f"{at}.matchExpressions[{i}].key: {one.get('key')} is {old}"
        for at, term in terms
        for i, one in enumerate(term.get("matchExpressions") or ())
        if (old := _former(one.get("key") or ""))
    ]


def _pods(affinity: Json, path: str) -> list[str]:
    terms = [(f"{path}.{_REQUIRED}[{i}]", one) for i, one in enumerate(affinity.get(_REQUIRED) or ())]
    terms += [
        (f"{path}.{_PREFERRED}[{i}].podAffinityTerm", one.get("podAffinityTerm") or {})
        for i, one in enumerate(affinity.get(_PREFERRED) or ())
    ]
    return [f"{at}.labelSelector: {_NULL}" for at, term in terms if term.get("labelSelector") is None]
