"""The audit log: what its policy says goes in, what must not is not there, and the disk holds nobody up."""

import asyncio
import datetime
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from netplane.apiserver.access.tokens import User
from netplane.apiserver.audit import events as audit
from netplane.apiserver.audit import log as audit_log
from netplane.apiserver.audit import policy as audit_policy
from netplane.apiserver.audit.log import Rotation, Writer
from netplane.apiserver.audit.policy import Level
from netplane.apiserver.process.settings import Audit
from netplane.apiserver.wire.target import parse
from netplane.errors import UsageError
from tests.apiserver_app import READER, USERS, Server, serving

CONFIG = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
EVERYTHING = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]"


def logged(
    test: Callable[[Server], Awaitable[None]], folder: Path, policy: str | None = EVERYTHING
) -> list[dict[str, Any]]:
    """The events that `test` leaves in the log."""
    given = None
    if policy is not None:
        given = folder / "policy.yaml"
        given.write_text(policy)
    path = folder / "audit.log"
    auditor = audit.of(Audit(str(path), given))
    assert auditor is not None

    async def body() -> None:
        async with serving() as server:
            server.cluster.audit = auditor
            await test(server)

    asyncio.run(asyncio.wait_for(body(), 60))
    auditor.writer.close()
    assert path.stat().st_mode & 0o777 == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()]


ODD = [
    (b"x: !!set {a, b}\nmetadata: {name: c}", "application/yaml", 201),
    (b"x: !!binary aGVsbG8=\nmetadata: {name: c}", "application/yaml", 201),
    (b'{"metadata":{"name":"c"},"x":' + b'{"x":' * 400 + b"1" + b"}" * 401, "application/json", 201),
    (b'{"metadata":{"name":"c"},"items":[1,{"metadata":[]}]}', "application/json", 201),
    (b'{"metadata":[1]}', "application/json", 400),
]


@pytest.mark.parametrize(("body", "media", "status"), ODD)
def test_no_body_keeps_a_request_out_of_the_log(body: bytes, media: str, status: int, tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        assert (await ask("POST", CONFIG, body, content_type=media)).status == status

    _, done = logged(test, tmp_path, f"{EVERYTHING}\nomitManagedFields: true")
    assert (done["stage"], done["verb"], done["responseStatus"]["code"]) == ("ResponseComplete", "create", status)


def test_a_change_is_logged_with_who_what_and_outcome(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        made = await ask("POST", CONFIG, {"metadata": {"name": "c"}, "data": {"a": "1"}}, user_agent="kubectl/v1")
        assert made.headers["audit-id"]

    received, done = logged(test, tmp_path)
    assert (received["stage"], done["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["auditID"] == done["auditID"]
    assert (done["kind"], done["apiVersion"], done["level"]) == ("Event", "audit.k8s.io/v1", "RequestResponse")
    assert (done["verb"], done["requestURI"], done["userAgent"]) == ("create", CONFIG, "kubectl/v1")
    assert done["user"] == {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]}
    assert done["sourceIPs"] == ["127.0.0.1"]
    ref = {key: done["objectRef"][key] for key in ("resource", "namespace", "name", "apiVersion")}
    assert ref == {"resource": "configmaps", "namespace": "default", "name": "c", "apiVersion": "v1"}
    assert done["responseStatus"] == {"metadata": {}, "code": 201}
    assert done["requestObject"]["data"] == done["responseObject"]["data"] == {"a": "1"}
    assert done["annotations"]["authorization.k8s.io/decision"] == "allow"
    for field in ("requestReceivedTimestamp", "stageTimestamp"):
        datetime.datetime.strptime(done[field], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)
    assert "responseStatus" not in received


def test_refusals_are_logged_too(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        await ask("DELETE", f"{CONFIG}/c", token=READER)
        await ask("GET", CONFIG, token="nobody's")
        await ask("GET", "/metrics", token=READER)
        await ask("GET", f"{SECRETS}?watch=1", token=READER)

    done = [one for one in logged(test, tmp_path) if one["stage"] != "RequestReceived"]
    stages = [("ResponseComplete", 403), ("ResponseStarted", 401), ("ResponseComplete", 403),
              ("ResponseStarted", 403), ("ResponseComplete", 403)]  # fmt: skip
    assert [(one["stage"], one["responseStatus"]["code"]) for one in done] == stages
    assert done[0]["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert done[0]["responseStatus"]["reason"] == "Forbidden"
    assert done[1]["user"] == {}
    assert (done[2]["requestURI"], done[2]["verb"], "objectRef" in done[2]) == ("/metrics", "get", False)


def test_an_event_names_the_object_as_the_request_does(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        await ask("POST", CONFIG, {"metadata": {"name": "c"}})
        await ask("PUT", f"{CONFIG}/c", {"metadata": {"name": "c", "resourceVersion": "1"}})
        await ask("POST", CONFIG, {"metadata": {"generateName": "c-"}})
        await ask("DELETE", f"{CONFIG}/c")

    where = {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"}
    done = [one for one in logged(test, tmp_path) if one["stage"] == "ResponseComplete"]
    named = {**where, "name": "c"}
    assert [one["objectRef"] for one in done] == [named, {**named, "resourceVersion": "1"}, where, named]
    assert done[0]["requestObject"] == {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}}
    assert (done[3]["responseStatus"]["status"], done[3]["responseStatus"]["details"]["name"]) == ("Success", "c")


def test_who_one_acts_as_is_known_after_the_request_came(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        await ask("GET", CONFIG, impersonate_user="bob")

    received, done = logged(test, tmp_path)
    assert "impersonatedUser" not in received
    assert done["impersonatedUser"] == {"username": "bob", "groups": ["system:authenticated"]}
    assert done["authenticationMetadata"] == {"impersonationConstraint": "impersonate:user-info"}


def test_by_default_no_content_is_logged(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        await ask.create(SECRETS, {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}})
        await ask("GET", f"{SECRETS}/s")
        await ask.patch(f"{SECRETS}/s", {"stringData": {"password": "hunter3"}})
        await ask("GET", "/livez", token="")

    events = logged(test, tmp_path, policy=None)
    assert [one["verb"] for one in events] == ["create", "get", "patch"]
    assert {one["level"] for one in events} == {"Metadata"}
    assert {one["objectRef"]["name"] for one in events} == {"s"}
    text = (tmp_path / "audit.log").read_text()
    assert "hunter" not in text
    assert "aHVudGVy" not in text  # in base64


def test_a_watch_is_logged_at_its_start_and_its_end(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        sent: list[dict[str, Any]] = []
        gone = asyncio.Event()
        watch = asyncio.create_task(ask.open("GET", f"{CONFIG}?watch=true", None, sent, gone=gone))
        while not ask.cluster.watches:
            await asyncio.sleep(0)
        gone.set()
        await watch
        assert b"audit-id" in dict(sent[0]["headers"])

    assert [one["stage"] for one in logged(test, tmp_path)] == [
        "RequestReceived", "ResponseStarted", "ResponseComplete",
    ]  # fmt: skip


def test_our_own_fault_is_a_panic(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        async def broken(*_: Any) -> None:
            raise RuntimeError("gone wrong")

        ask.store.get = broken  # type: ignore[method-assign, assignment]  # a bug
        assert (await ask("GET", f"{CONFIG}/c")).status == 500

    events = logged(test, tmp_path)
    assert [one["stage"] for one in events] == ["RequestReceived", "Panic", "ResponseComplete"]
    assert events[1]["responseStatus"]["code"] == 500


def test_the_client_may_name_its_request(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        assert (await ask("GET", CONFIG, audit_id="mine-1")).headers["audit-id"] == "mine-1"
        assert (await ask("GET", CONFIG, audit_id="x" * 65)).headers["audit-id"] != "x" * 65
        assert (await ask("GET", CONFIG, x_forwarded_for="192.0.2.1, 192.0.2.2")).status == 200

    events = logged(test, tmp_path)
    assert events[0]["auditID"] == "mine-1"
    assert events[-1]["sourceIPs"] == ["192.0.2.1", "192.0.2.2", "127.0.0.1"]


def test_managed_fields_can_be_left_out(tmp_path: Path) -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, {"metadata": {"name": "c"}, "data": {"a": "1"}})
        await ask("GET", CONFIG)

    events = logged(test, tmp_path, EVERYTHING + "\nomitManagedFields: true\nomitStages: [RequestReceived]")
    assert [one["verb"] for one in events] == ["create", "list"]
    assert "managedFields" not in (tmp_path / "audit.log").read_text()


# Policies -------------------------------------------------------------------------------------------------------

RULES = """
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints]}]}
- {level: None, userGroups: [system:nodes]}
- {level: None, nonResourceURLs: ["/healthz*"]}
- {level: Request, resources: [{group: "", resources: [configmaps], resourceNames: [special]}]}
- level: Metadata
  resources: [{group: "", resources: [secrets, pods/log, "services/*"]}]
  omitStages: [ResponseStarted]
- {level: Request, namespaces: [kube-system], resources: [{group: apps}]}
- {level: RequestResponse, resources: [{group: batch, resources: ["*"]}]}
"""


@pytest.mark.parametrize(
    ("user", "verb", "path", "level"),
    [
        ("system:kube-proxy", "watch", "/api/v1/endpoints", "None"),
        ("jane", "get", "/api/v1/namespaces/a/secrets/s", "Metadata"),
        ("node", "get", "/api/v1/namespaces/a/secrets/s", "None"),
        ("jane", "get", "/api/v1/namespaces/a/configmaps/special", "Request"),
        ("jane", "get", "/api/v1/namespaces/a/configmaps/plain", "None"),
        ("jane", "get", "/api/v1/namespaces/a/pods/p/log", "Metadata"),
        ("jane", "get", "/api/v1/namespaces/a/pods/p", "None"),
        ("jane", "update", "/api/v1/namespaces/a/services/s/status", "Metadata"),
        ("jane", "update", "/api/v1/namespaces/a/services/s", "None"),
        ("jane", "update", "/apis/apps/v1/namespaces/kube-system/deployments/d", "Request"),
        ("jane", "update", "/apis/apps/v1/namespaces/a/deployments/d", "None"),
        ("jane", "get", "/apis/batch/v1/namespaces/a/jobs/j/status", "RequestResponse"),
        ("jane", "get", "/healthz/ping", "None"),
        ("jane", "get", "/version", "None"),
    ],
)
def test_the_first_rule_that_fits_decides(tmp_path: Path, user: str, verb: str, path: str, level: str) -> None:
    (tmp_path / "p.yaml").write_text(RULES)
    policy = audit_policy.load(tmp_path / "p.yaml")
    who = User(user, "", ("system:nodes",) if user == "node" else ())
    target = parse("GET", path)
    target = target._replace(verb=verb) if target is not None else None
    for _ in range(2):  # decided, remembered
        verdict = policy.verdict(who, verb, target, path)
        assert verdict.level.word == level
    assert ("ResponseStarted" in verdict.omit) is (level == "Metadata")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "--audit-policy-file .*p.yaml: "),
        ("kind: Policy", "apiVersion is None"),
        ("apiVersion: audit.k8s.io/v1\nkind: Policy", "rules: there is none"),
        ("{level: Loud}", r"rules\[0\].level: 'Loud' is none"),
        ("{level: Metadata, verb: [get]}", r"rules\[0\].verb: no such field"),
        ("{level: Metadata, verbs: get}", r"rules\[0\].verbs: is no list of strings"),
        ("{level: Metadata, omitStages: [Done]}", r"rules\[0\].omitStages: 'Done' is no stage"),
        ("{level: Metadata, resources: [secrets]}", r"rules\[0\].resources\[0\]: is no group"),
        ("{level: Metadata, resources: [{group: ''}], nonResourceURLs: ['/x']}", "about resources or about"),
    ],
)
def test_a_policy_that_is_wrong_says_where(tmp_path: Path, text: str, message: str) -> None:
    if text.startswith("{"):
        text = yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [yaml.safe_load(text)]})
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        audit_policy.load(tmp_path / "p.yaml")


def test_levels_are_in_order() -> None:
    assert [one.word for one in sorted(Level)] == ["None", "Metadata", "Request", "RequestResponse"]


# The file -------------------------------------------------------------------------------------------------------


def test_a_full_file_is_put_aside_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    old = tmp_path / "audit-2020-01-01T00-00-00.000000.log"
    old.write_text("old")
    os.utime(old, (0, 0))
    (tmp_path / "audit-notes.log").write_text("not ours")
    writer = Writer(audit_log.handler(str(path), Rotation(1, 2, 30)), str)
    for i in range(6):
        writer.put(f"{i}" * 400_000)
    writer.close()
    aside = sorted(tmp_path.glob("audit-20*"))
    assert len(aside) == 2
    assert old not in aside
    assert (tmp_path / "audit-notes.log").exists()
    lines = "".join(one.read_text() for one in [*aside, path]).splitlines()
    assert [line[0] for line in lines] == ["0", "1", "2", "3", "4", "5"]


def test_the_buffer_is_bounded_and_drops_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    go = threading.Event()

    def slow(event: Any) -> str:
        go.wait()
        return str(event)

    monkeypatch.setattr(audit_log, "BUFFERED", 5)
    writer = Writer(audit_log.handler(str(tmp_path / "a.log"), Rotation()), slow)
    for i in range(20):
        writer.put(i)
    assert writer.dropped >= 14
    go.set()
    writer.close()
    assert len((tmp_path / "a.log").read_text().splitlines()) == 20 - writer.dropped == writer.written


def test_a_log_that_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(UsageError, match="--audit-log-path"):
        audit_log.handler(str(tmp_path / "f" / "audit.log"), Rotation())


def test_why_it_was_let_in_or_not_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(USERS, "n1", User("system:node:n1", "", ("system:nodes",)))

    async def test(ask: Server) -> None:
        await ask("GET", CONFIG)
        await ask("GET", CONFIG, token=READER)
        await ask("GET", f"{SECRETS}/s", token="n1")
        await ask("GET", SECRETS, token=READER)

    done = [one["annotations"] for one in logged(test, tmp_path) if one["stage"] == "ResponseComplete"]
    decision, reason = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
    assert [(one[decision], one[reason]) for one in done] == [
        ("allow", ""),
        ("allow", 'RBAC: allowed by ClusterRoleBinding "people" of ClusterRole "view" to Group "people"'),
        ("forbid", "no relationship found between node 'n1' and this object"),
        ("forbid", ""),
    ]
