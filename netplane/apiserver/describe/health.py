"""/livez, /readyz and /healthz: named checks, one by one or all together.

Names and words are kube-apiserver's. What is done before the first request is served (its hooks) stays done, so these
checks hold; what can fail is the store, and readiness while the server stops.
"""

from collections.abc import Callable, Sequence

from netplane.apiserver.cluster import Cluster
from netplane.apiserver.wire.reply import NOT_FOUND, Reply, text

ENDPOINTS = ("healthz", "livez", "readyz")
Check = Callable[[], str]
_HOOKS = (
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-filter",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
)


def _good() -> str:
    return ""


def checks(cluster: Cluster, endpoint: str) -> dict[str, Check]:
    """The checks of an endpoint, in their order: each says what is wrong, or nothing."""
    found = {"ping": _good, "log": _good, "etcd": _good, **cluster.checks}
    if endpoint == "readyz":
        found |= {"etcd-readiness": found["etcd"], "informer-sync": _good}
    found |= {f"poststarthook/{name}": _good for name in _HOOKS}
    if endpoint == "readyz":
        found["shutdown"] = lambda: "process is shutting down" if cluster.stopping else ""
    return found


def answer(cluster: Cluster, path: str, *, verbose: bool, exclude: Sequence[str] = ()) -> Reply:
    """`path` is `/readyz` or `/readyz/CHECK`."""
    endpoint, slash, single = path.removeprefix("/").partition("/")
    found = checks(cluster, endpoint)
    if slash:
        return _single(found.get(single))
    failed = {name for name, check in found.items() if name not in exclude and check()}
    if not failed and not verbose:
        return text("ok")
    lines = [_line(name, failed=name in failed, excluded=name in exclude) for name in found]
    if unknown := sorted(set(exclude) - set(found)):
        named = ",".join(f'"{one}"' for one in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {named}")
    verdict = f"{endpoint} check {'failed' if failed else 'passed'}"
    return text("".join(f"{line}\n" for line in [*lines, verdict]), 500 if failed else 200)


def _single(check: Check | None) -> Reply:
    if check is None:
        return NOT_FOUND
    problem = check()
    return text(f"internal server error: {problem}\n", 500) if problem else text("ok")


def _line(name: str, *, failed: bool, excluded: bool) -> str:
    """Everybody may read it, so it says nothing of why: the check by itself does, and needs the right to be asked."""
    if excluded:
        return f"[+]{name} excluded: ok"
    return f"[-]{name} failed: reason withheld" if failed else f"[+]{name} ok"


def states(cluster: Cluster) -> bytes:
    """/metrics/slis: every check as a figure, 1 when it holds."""
    lines = [
        "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
        "# TYPE kubernetes_healthcheck gauge",
    ]
    for endpoint in ENDPOINTS:
        for name, check in checks(cluster, endpoint).items():
            lines.append(f'kubernetes_healthcheck{{name="{name}",type="{endpoint}"}} {0 if check() else 1}')
    return "".join(f"{line}\n" for line in lines).encode()
