"""/livez, /readyz and /healthz: named checks, one by one or all together."""

from collections.abc import Callable

from netplane.apiserver.cluster import Cluster
from netplane.apiserver.wire.reply import NOT_FOUND, Reply, text


def answer(cluster: Cluster, path: str, *, verbose: bool, exclude: tuple[str, ...] = ()) -> Reply:
    """`path` is `/readyz` or `/readyz/CHECK`."""
    endpoint, _, single = path.strip("/").partition("/")
    checks = dict(cluster.checks)
    if endpoint != "livez":
        checks["shutdown"] = lambda: "the server is shutting down" if cluster.stopping else ""
    if single:
        return _single(checks.get(single), single)
    problems = {name: problem for name, check in checks.items() if name not in exclude and (problem := check())}
    if not problems and not verbose:
        return text("ok")
    lines = [_line(name, problems.get(name, ""), excluded=name in exclude) for name in checks]
    verdict = f"{endpoint} check {'failed' if problems else 'passed'}"
    return text("".join(f"{line}\n" for line in [*lines, verdict]), 500 if problems else 200)


def _single(check: Callable[[], str] | None, name: str) -> Reply:
    if check is None:
        return NOT_FOUND
    problem = check()
    return text(f"internal server error: {name}: {problem}\n", 500) if problem else text("ok")


def _line(name: str, problem: str, *, excluded: bool) -> str:
    if excluded:
        return f"[+]{name} excluded: ok"
    return f"[-]{name} failed: {problem}" if problem else f"[+]{name} ok"
