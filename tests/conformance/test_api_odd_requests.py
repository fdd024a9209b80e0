"""The real process over TLS: odd requests and their refusals, and what objects, subresources and watches do.

The table is in tests/odd_requests.py. Every refusal must be a Status, and change nothing.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.apiserver_process import Apiserver
from tests.odd_requests import ROWS
from tests.odd_rows import (
    CM,
    DEPLOYMENTS,
    MADE,
    MERGE,
    NS,
    PODS,
    SERVICES,
    SPEC,
    TYPES,
    Row,
    config_map,
    options,
    scale,
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with Apiserver(tmp_path_factory.mktemp("odd")) as server, server.client() as known:
        for path, obj in MADE:
            assert known.post(path, json=obj).status_code == 201
        yield known


def ask(client: httpx2.Client, row: Row) -> httpx2.Response:
    body = row.body if isinstance(row.body, bytes) or row.body is None else json.dumps(row.body).encode()
    headers = {"Content-Type": row.media} if row.media else {}
    return client.request(row.method, row.path, content=body, headers=headers)


@pytest.mark.parametrize("name", ROWS)
def test_refused_as_the_real_server_does(client: httpx2.Client, name: str) -> None:
    row = ROWS[name]
    answer = ask(client, row)
    status = answer.json()
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status_code)
    assert (status["code"], status.get("reason", "")) == (row.code, row.reason), status
    assert status["message"].startswith(row.message), status["message"]


def test_nothing_was_changed_by_any_of_them(client: httpx2.Client) -> None:
    before = {path: client.get(path).json()["items"] for path in (CM, PODS, DEPLOYMENTS)}
    for row in ROWS.values():
        ask(client, row)
    assert {path: client.get(path).json()["items"] for path in (CM, PODS, DEPLOYMENTS)} == before


# What is accepted although it looks odd -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [f"{CM}/", f"{CM}?limit=-1", f"{CM}?foo=bar", f"{CM}?watch=false", f"{CM}?resourceVersion=0", f"{CM}?continue=",
     f"{CM}?labelSelector=", f"{CM}?fieldSelector=metadata.name=x,,", f"{CM}?pretty=true"],
)  # fmt: skip
def test_listed_all_the_same(client: httpx2.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["kind"]) == (200, "ConfigMapList")
    assert "x" in [one["metadata"]["name"] for one in answer.json()["items"]]


@pytest.mark.parametrize(
    ("accept", "message"),
    [
        ("application/cbor", "406: Not Acceptable\n\nAvailable representations: "),
        ("text/html", "406: Not Acceptable\n\nAvailable representations: "),
        ("application/json;as=Table;v=v1;g=nope", "only the following media types are accepted: "),
    ],
)
def test_a_format_that_is_not_spoken_is_406(client: httpx2.Client, accept: str, message: str) -> None:
    answer = client.get(f"{CM}/x", headers={"Accept": accept})
    assert answer.status_code == 406
    assert answer.json()["message"] == f"{message}{TYPES}"


def test_what_clients_may_not_set_is_taken_from_the_server(client: httpx2.Client) -> None:
    old = "2020-01-01T00:00:00Z"
    given = config_map(
        "own", uid="mine", creationTimestamp=old, generation=7, selfLink="/x", deletionTimestamp=old,
        deletionGracePeriodSeconds=5,
    )  # fmt: skip
    made = client.post(CM, json=given).json()["metadata"]
    assert made["uid"] != "mine"
    assert made["creationTimestamp"] != old
    assert not {"selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} & set(made)
    assert made["generation"] == 7  # nobody counts those of ConfigMaps
    client.delete(f"{CM}/own").raise_for_status()


def test_head_is_for_pages_not_for_resources(client: httpx2.Client) -> None:
    for path, status in ((f"{CM}/x", 405), (CM, 405), ("/api/v1/nodes", 405), ("/version", 405), ("/livez", 200)):
        head = client.head(path)
        assert (head.status_code, head.content) == (status, b""), path


def test_a_generated_name_is_told_when_it_is_wrong(client: httpx2.Client) -> None:
    status = client.post(CM, json={"metadata": {"generateName": "Bad_"}}).json()
    assert [cause["field"] for cause in status["details"]["causes"]] == ["metadata.generateName", "metadata.name"]
    made = client.post(CM, json={"metadata": {"generateName": "gen-"}}).json()["metadata"]
    assert len(made["name"]) == len("gen-") + 5
    client.delete(f"{CM}/{made['name']}").raise_for_status()


# Warnings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "warning"),
    [
        ({"clusterIP": "None", "sessionAffinity": "ClientIP"}, "spec.SessionAffinity is ignored for headless services"),
        ({"clusterIP": "None", "externalIPs": ["192.0.2.1"]}, "spec.externalIPs is ignored for headless services"),
        ({"externalIPs": ["192.0.2.1"]},
         "spec.externalIPs is deprecated and may no longer be implemented in some clusters"),
        ({"externalName": "a.b"}, 'spec.externalName is ignored when spec.type is not \\"ExternalName\\"'),
        ({"trafficDistribution": "PreferClose"},
         'spec.trafficDistribution: \\"PreferClose\\" is deprecated; use \\"PreferSameZone\\"'),
    ],
)  # fmt: skip
def test_services_that_mean_less_than_they_say(client: httpx2.Client, spec: dict[str, Any], warning: str) -> None:
    body = {"metadata": {"name": "warned"}, "spec": {"ports": [{"port": 80}], **spec}}
    answer = client.post(f"{SERVICES}?dryRun=All", json=body)
    assert (answer.status_code, answer.headers.get("warning")) == (201, f'299 - "{warning}"')
    plain = client.post(f"{SERVICES}?dryRun=All", json={**body, "spec": {"ports": [{"port": 80}]}})
    assert "warning" not in plain.headers


def test_whoever_asks_for_endpoints_is_told_of_slices(client: httpx2.Client) -> None:
    told = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    for path in (f"{NS}/endpoints", f"{NS}/endpoints/kubernetes", f"{NS}/endpoints?watch=1&timeoutSeconds=1"):
        assert client.get(path).headers["warning"] == told
    assert "warning" not in client.get(f"{NS}/services").headers


# Subresources and grace ------------------------------------------------------------------------------------------


def test_status_and_spec_do_not_touch_each_other(client: httpx2.Client) -> None:
    path = f"{DEPLOYMENTS}/d"
    seen = client.get(path).json()
    given = {**seen, "spec": {**seen["spec"], "replicas": 9}, "status": {"replicas": 4}}
    after = client.put(f"{path}/status", json=given).json()
    assert (after["spec"], after["status"]) == (seen["spec"], {"replicas": 4})
    assert after["metadata"]["generation"] == seen["metadata"]["generation"]
    given = {**after, "spec": {**seen["spec"], "replicas": 3}, "status": {"replicas": 77}}
    main = client.put(path, json=given).json()
    assert (main["spec"]["replicas"], main["status"]) == (3, {"replicas": 4})
    assert main["metadata"]["generation"] == seen["metadata"]["generation"] + 1
    labelled = client.patch(path, content=b'{"metadata":{"labels":{"a":"b"}}}', headers={"Content-Type": MERGE}).json()
    assert labelled["metadata"]["generation"] == main["metadata"]["generation"], "labels are no content"


def test_scale_is_another_way_to_the_same_number(client: httpx2.Client) -> None:
    path = f"{DEPLOYMENTS}/d"
    assert client.put(f"{path}/scale", json=scale("d", 5)).json()["spec"] == {"replicas": 5}
    body, headers = b'{"spec":{"replicas":2}}', {"Content-Type": MERGE}
    assert client.patch(f"{path}/scale", content=body, headers=headers).json()["spec"] == {"replicas": 2}
    shown = client.get(f"{path}/scale").json()
    assert (shown["kind"], shown["apiVersion"], shown["status"]["selector"]) == ("Scale", "autoscaling/v1", "a=b")
    assert client.get(path).json()["spec"]["replicas"] == 2


def test_a_bound_pod_goes_when_its_grace_is_over(client: httpx2.Client) -> None:
    client.post(PODS, json={"metadata": {"name": "grace"}, "spec": {**SPEC, "nodeName": "n"}}).raise_for_status()
    path = f"{PODS}/grace"
    first = client.delete(path, params={"gracePeriodSeconds": "10"}).json()["metadata"]
    assert first["deletionGracePeriodSeconds"] == 10
    longer = client.delete(path, params={"gracePeriodSeconds": "20"}).json()["metadata"]
    assert longer == first, "it can only get shorter"
    shorter = client.delete(path, params={"gracePeriodSeconds": "5"}).json()["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < first["deletionTimestamp"]
    assert client.delete(path, params={"gracePeriodSeconds": "0"}).status_code == 200
    assert client.get(path).status_code == 404


def test_dry_runs_delete_nothing(client: httpx2.Client) -> None:
    client.post(CM, json=config_map("dry", labels={"dry": "yes"})).raise_for_status()
    assert client.delete(f"{CM}/dry?dryRun=All").status_code == 200
    assert client.request("DELETE", f"{CM}/dry", json=options(dryRun=["All"])).status_code == 200
    gone = client.delete(f"{CM}?labelSelector=dry%3Dyes&dryRun=All").json()
    assert [one["metadata"]["name"] for one in gone["items"]] == ["dry"]
    assert client.get(f"{CM}/dry").status_code == 200
    client.delete(f"{CM}/dry").raise_for_status()


def test_a_collection_is_deleted_in_chunks_and_by_selectors(client: httpx2.Client) -> None:
    for i in range(5):
        client.post(
            CM, json=config_map(f"many-{i}", labels={"many": "even" if i % 2 == 0 else "odd"})
        ).raise_for_status()
    one = client.delete(f"{CM}?labelSelector=many&limit=1").json()
    assert [item["metadata"]["name"] for item in one["items"]] == ["many-0"]
    client.delete(f"{CM}?labelSelector=many%3Dodd").raise_for_status()
    left = client.get(f"{CM}?labelSelector=many").json()["items"]
    assert [item["metadata"]["name"] for item in left] == ["many-2", "many-4"]
    client.delete(f"{CM}?labelSelector=many&fieldSelector=metadata.name%3Dmany-2").raise_for_status()
    assert [one["metadata"]["name"] for one in client.get(f"{CM}?labelSelector=many").json()["items"]] == ["many-4"]
    client.delete(f"{CM}?labelSelector=many").raise_for_status()


# Watches ---------------------------------------------------------------------------------------------------------


def test_labels_move_objects_in_and_out_of_a_watch(client: httpx2.Client) -> None:
    start = client.get(CM).json()["metadata"]["resourceVersion"]
    client.post(CM, json=config_map("mover")).raise_for_status()
    for labels in ({"in": "yes"}, {"in": "yes", "more": "1"}, {"in": "no"}, {"in": "yes"}):
        body = json.dumps({"metadata": {"labels": labels}})
        client.patch(f"{CM}/mover", content=body, headers={"Content-Type": MERGE}).raise_for_status()
    client.delete(f"{CM}/mover").raise_for_status()
    query = f"{CM}?watch=1&labelSelector=in%3Dyes&resourceVersion={start}&timeoutSeconds=1"
    events = [json.loads(line) for line in client.get(query).text.splitlines()]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert revisions == sorted(set(revisions))
    assert events[2]["object"]["metadata"]["labels"]["in"] == "yes", "the last state that the watcher knew"
