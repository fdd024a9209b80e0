"""Requests replayed in their order, answers compared with those of the real kube-apiserver, by structure.

Collected only where the recording lies.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from netplane.api import protobuf
from tests.apiserver_process import Apiserver
from tests.golden_answers import Comparison, Names, cut, parsed

FACTS = Path(__file__).parents[2] / ".." / "shared" / "facts" / "api_golden.json"
ROWS: list[dict[str, Any]] = json.loads(FACTS.read_text()) if FACTS.exists() else []

AGENT = "Python-urllib/3.11"
ANONYMOUS = frozenset({"noauth", "version-noauth"})
# Compared for the entries that both have: a listing of everything that is served.
LISTINGS = frozenset({"disc-apis", "disc-v1", "disc-agg", "root", "oas3", "livez"})
G1 = "/api/v1/namespaces/g1/services"
STRATEGIC = "application/strategic-merge-patch+json"
# Requests that were sent to the real server before a row and are not in the recording: without them nothing can match.
BEFORE: dict[str, tuple[str, str, str, Any]] = {
    "smp-retainkeys": (
        *("PATCH", f"{G1}/np2", STRATEGIC),
        {"spec": {"ports": [{"port": 9, "name": "z"}, {"$patch": "replace"}]}},
    ),
    "list-rv0": (
        *("POST", G1, "application/json"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "lb2"},
            "spec": {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 80}],
            },
        },
    ),
}


def amended(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it was sent and answered: the recorder changed three of its objects before it wrote them down."""
    row = copy.deepcopy(row)
    if row["name"] == "put-to-nodeport":
        row["response"]["spec"]["type"] = "NodePort"  # what was asked for, and what the node port is for
    elif row["name"] in ("ssa-create", "ssa-force"):
        row["body"]["spec"]["selector"] = row["response"]["spec"]["selector"]
    return row


IGNORED: frozenset[str] = frozenset()


def ask(client: httpx2.Client, row: dict[str, Any], names: Names) -> tuple[httpx2.Response, str]:
    body = row["body"] if isinstance(row["body"], str) or row["body"] is None else json.dumps(row["body"])
    body = names.translate(body) if body else None
    headers = {"Accept": row["accept"], "User-Agent": AGENT}
    if row["content_type"]:
        headers["Content-Type"] = row["content_type"]
    if row["name"] == "badtoken":
        headers["Authorization"] = "Bearer nobody-knows-this"
    path = names.translate(row["path"])
    return client.request(row["method"], path, content=body, headers=headers), path + (body or "")


def problems(row: dict[str, Any], answer: httpx2.Response, request: str, names: Names) -> list[str]:
    comparison = Comparison(names, request, IGNORED)
    comparison.compare(row["status"], answer.status_code, "HTTP status")
    want, have = parsed(row["response"]), parsed(answer.text)
    if answer.headers["content-type"] == "application/vnd.kubernetes.protobuf":
        want, have = protobuf.decode(row["response"].encode("latin-1")), protobuf.decode(answer.content)
    for name, value in row["headers"].items():
        comparison.compare(value, answer.headers.get(name, ""), f"header {name}")
    if row["name"] == "oas3":
        want, have = {"serverRelativeURL": "/openapi/v3/api/v1?hash="}, _without_hashes(have["paths"]["api/v1"])
    elif isinstance(want, str):
        want, have = cut(want, have)
    if row["name"] in LISTINGS:
        want, have = in_both(want, have)
    if row["name"] != "version-noauth":
        comparison.compare(want, have)
    return comparison.problems


def _without_hashes(entry: dict[str, str]) -> dict[str, str]:
    return {key: re.sub(r"hash=[0-9A-F]{128}$", "hash=", value) for key, value in entry.items()}


def in_both(want: Any, have: Any) -> tuple[Any, Any]:
    """Listings cut down to the entries that both have, each in its own order of names."""
    if isinstance(want, list) and isinstance(have, list):
        theirs, ours = {_key(one): one for one in want}, {_key(one): one for one in have}
        both = sorted(set(theirs) & set(ours))
        pairs = [in_both(theirs[key], ours[key]) for key in both]
        return [one for one, _ in pairs], [one for _, one in pairs]
    if isinstance(want, dict) and isinstance(have, dict):
        pairs_of = {key: in_both(want[key], have[key]) for key in want if key in have}
        return {**want, **{k: p[0] for k, p in pairs_of.items()}}, {**have, **{k: p[1] for k, p in pairs_of.items()}}
    if isinstance(want, str) and "check passed" in want:
        return want.splitlines()[-1], have.splitlines()[-1]
    return want, have


def _key(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    name = entry.get("name") or entry.get("resource") or entry.get("subresource") or entry.get("version")
    return str(name or entry.get("groupVersion") or (entry.get("metadata") or {}).get("name", ""))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """What is different, for each row, after all were replayed in order."""
    out: dict[str, list[str]] = {}
    names = Names()
    with Apiserver(tmp_path_factory.mktemp("golden")) as server, server.client() as known, server.client("") as anyone:
        for row in map(amended, ROWS):
            if row["name"] in BEFORE:
                method, path, media, body = BEFORE[row["name"]]
                headers = {"Content-Type": media, "User-Agent": AGENT}
                known.request(method, path, content=json.dumps(body), headers=headers).raise_for_status()
            answer, request = ask(anyone if row["name"] in ANONYMOUS else known, row, names)
            out[row["name"]] = problems(row, answer, request, names)
        yield out


if ROWS:

    @pytest.mark.parametrize("name", [row["name"] for row in ROWS])
    def test_answers_as_the_real_server(answers: dict[str, list[str]], name: str) -> None:
        assert not answers[name], "\n".join(answers[name])
