"""schemathesis against the OpenAPI documents that the apiserver publishes: nothing breaks it, and answers conform.

A few examples for every operation of every group, right ones and wrong ones, always the same. Names lead to objects
that are there as often as not. Every refusal must be a Status below 500; the one exception is a resource version that
lies in the future (504).
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from netplane.api.kinds import KINDS
from tests.apiserver_process import Apiserver

EXAMPLES = {GenerationMode.POSITIVE: 2, GenerationMode.NEGATIVE: 1}  # wrong bodies take ten times as long to make up
GROUPS = sorted({kind.root.strip("/") for kind in KINDS})
NAMES = st.tuples(st.sampled_from(["default", "nowhere"]), st.sampled_from(["x", "default", "kubernetes", "nothing"]))


class Caller:
    """Where the server is and how it is asked."""

    def __init__(self, server: Apiserver, ca: Path) -> None:
        self.url = server.url
        cluster = yaml.safe_load(server.kubeconfig.read_text())["clusters"][0]["cluster"]
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        self.session = requests.Session()
        self.session.verify = str(ca)
        self.session.trust_env = False  # a bundle named in the environment would win over ours
        self.session.headers["Authorization"] = f"Bearer {server.token}"

    def json(self, path: str) -> Any:
        """A document."""
        return self.session.get(self.url + path, timeout=30).json()

    def call(self, case: Any) -> Any:
        """The answer to a generated request."""
        return case.call(base_url=self.url, session=self.session, timeout=30, verify=self.session.verify)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("fuzz")
    with Apiserver(folder) as server:
        asking = Caller(server, folder / "ca.crt")
        yield asking
        asking.session.close()


def operations(caller: Caller, group: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(caller.json(f"/openapi/v3/{group}"))
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.definition.raw.get("x-kubernetes-action") not in (None, "connect"):
            yield operation


def aim(case: Any, names: tuple[str, str]) -> None:
    """Lead a request to what may be there; watches are asked for elsewhere, these answers must end."""
    for name, value in zip(("namespace", "name"), names, strict=True):
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = value
    if isinstance(case.query, dict):
        case.query.pop("watch", None)


# Lists that must be there: kube-apiserver writes null when they are empty, against its own schema.
EMPTY_LISTS = re.compile(r'"(limits|drivers|topologyKeys)": ?null')


AS_THERE = ("target.name: Required value",)
"""What kube-apiserver answers with 500, too: a Binding without a node at the old place."""


def judge(case: Any, answer: Any) -> None:
    if answer.status_code >= 400:
        status = answer.json()
        assert (status["kind"], status["code"]) == ("Status", answer.status_code), status
        if status["message"] in AS_THERE:
            return
        if answer.status_code == 504:
            assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge", status
            return
    checks = [not_a_server_error]
    if not EMPTY_LISTS.search(answer.text):
        checks.append(response_schema_conformance)
    case.validate_response(answer, checks=checks)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize("group", GROUPS)
def test_no_request_breaks_the_server(caller: Caller, group: str, mode: GenerationMode) -> None:
    asked = 0
    for operation in operations(caller, group):
        nothing_to_get_wrong = not (operation.query or operation.body)  # any text is a right name
        if mode is GenerationMode.NEGATIVE and (nothing_to_get_wrong or operation.path.endswith("/status")):
            continue  # a status takes the same body as its object

        @settings(
            max_examples=EXAMPLES[mode], derandomize=True, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode), names=NAMES)
        def once(case: Any, names: tuple[str, str]) -> None:
            nonlocal asked
            aim(case, names)
            judge(case, caller.call(case))
            asked += 1

        once()
    assert asked
    assert caller.session.get(f"{caller.url}/readyz", timeout=30).text == "ok"
