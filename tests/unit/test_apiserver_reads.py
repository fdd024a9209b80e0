"""Lists, watches, and the forms answers come in."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from netplane.store.memory import MemoryStore
from tests.apiserver_app import Server, serving

CONFIG = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


def run(test: Callable[[Server], Awaitable[None]], store: MemoryStore | None = None) -> None:
    async def body() -> None:
        async with serving(store=store) as server:
            await test(server)

    asyncio.run(body())


async def fill(ask: Server, count: int, namespace: str = "default") -> list[Any]:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    labels = [{"n": str(i), "even": str(i % 2 == 0)} for i in range(count)]
    return [await ask.create(path, {"metadata": {"name": f"c{i:03}", "labels": one}}) for i, one in enumerate(labels)]


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer.json["items"]]


def seen(lines: list[Any]) -> list[tuple[str, str]]:
    return [(line["type"], line["object"]["metadata"].get("name", "")) for line in lines]


# Lists ----------------------------------------------------------------------------------------------------------


def test_a_chunked_list_is_one_list_at_one_revision() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 25)
        first = await ask("GET", f"{CONFIG}?limit=10")
        meta = first.json["metadata"]
        assert (len(names(first)), meta["remainingItemCount"]) == (10, 15)
        await ask("DELETE", f"{CONFIG}/c015")
        await ask.create(CONFIG, {"metadata": {"name": "c0155"}})
        got, token = names(first), meta["continue"]
        while token:
            page = await ask("GET", f"{CONFIG}?limit=10&continue={token}")
            assert page.json["metadata"]["resourceVersion"] == meta["resourceVersion"]
            got += names(page)
            token = page.json["metadata"].get("continue", "")
        assert got == [f"c{i:03}" for i in range(25)]

    run(test)


def test_chunks_of_a_selected_list_are_full_and_uncounted() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 30)
        page = await ask("GET", f"{CONFIG}?limit=10&labelSelector=even%3DTrue")
        assert names(page) == [f"c{i:03}" for i in range(0, 20, 2)]
        assert "remainingItemCount" not in page.json["metadata"]
        rest = await ask(
            "GET", f"{CONFIG}?limit=10&labelSelector=even%3DTrue&continue={page.json['metadata']['continue']}"
        )
        assert names(rest) == [f"c{i:03}" for i in range(20, 30, 2)]
        assert "continue" not in rest.json["metadata"]

    run(test)


def test_a_chunk_whose_revision_is_gone_has_expired() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 5)
        token = (await ask("GET", f"{CONFIG}?limit=2")).json["metadata"]["continue"]
        await fill(ask, 5, "kube-public")
        await ask.store.compact(await ask.store.current_rev())
        expired = await ask("GET", f"{CONFIG}?limit=2&continue={token}")
        assert (expired.status, expired.json["reason"]) == (410, "Expired")
        await ask("DELETE", f"{CONFIG}/c003")
        rest = await ask("GET", f"{CONFIG}?continue={expired.json['metadata']['continue']}")
        assert names(rest) == ["c002", "c004"], "it goes on where it was, with what there is now"

    run(test, MemoryStore(keep_revisions=1))


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("resourceVersion=abc", 400, "invalid resource version"),
        ("resourceVersion=999999", 504, "Too large resource version: 999999"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, "is forbidden for resourceVersion"),
        ("resourceVersionMatch=Exact", 422, "unless resourceVersion is provided"),
        ("resourceVersion=1&resourceVersionMatch=Sometimes", 422, "Unsupported value"),
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("continue=nonsense", 400, "continue key is not valid"),
        ("continue=bm9uc2Vuc2U&resourceVersion=5", 400, "not allowed when using continue"),
        ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement"),
        ("fieldSelector=spec.colour%3Dblue", 400, "field"),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
    ],
)
def test_lists_that_cannot_be(query: str, status: int, message: str) -> None:
    async def test(ask: Server) -> None:
        answer = await ask("GET", f"{CONFIG}?{query}")
        assert answer.status == status, answer.body
        assert message in answer.json["message"]

    run(test)


def test_lists_of_the_past_and_of_everything() -> None:
    async def test(ask: Server) -> None:
        made = await fill(ask, 3)
        await fill(ask, 2, "kube-public")
        rev = made[1]["metadata"]["resourceVersion"]
        assert names(await ask("GET", f"{CONFIG}?resourceVersion={rev}&resourceVersionMatch=Exact")) == ["c000", "c001"]
        assert len(names(await ask("GET", f"{CONFIG}?resourceVersion={rev}"))) == 3
        assert len(names(await ask("GET", "/api/v1/configmaps"))) == 5
        assert len(names(await ask("GET", f"{CONFIG}?resourceVersion=0&limit=1"))) == 3
        assert names(await ask("GET", "/api/v1/namespaces/nowhere/configmaps")) == []
        one = await ask("GET", f"{CONFIG}?fieldSelector=metadata.name%3Dc001")
        assert names(one) == ["c001"]
        assert names(await ask("GET", f"{CONFIG}?labelSelector=even,n+notin+(0,1)")) == ["c002"]

    run(test)


# Watches --------------------------------------------------------------------------------------------------------


class Watching:
    """A watch that runs while the test goes on."""

    def __init__(self, ask: Server, path: str, **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.task = asyncio.create_task(ask.open("GET", path, None, self.sent, gone=self.gone, headers=headers))

    @property
    def lines(self) -> list[Any]:
        text = b"".join(message.get("body", b"") for message in self.sent[1:])
        return [orjson.loads(line) for line in text.splitlines()]

    async def until(self, count: int) -> list[Any]:
        """The first `count` lines, once they are there."""
        async with asyncio.timeout(10):
            while len(self.lines) < count:
                await asyncio.sleep(0)
        return self.lines

    async def end(self) -> None:
        self.gone.set()
        await self.task


def test_a_watch_shows_what_there_is_and_what_comes() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 2)
        watch = Watching(ask, f"{CONFIG}?watch=1")
        await watch.until(2)
        await ask.create(CONFIG, {"metadata": {"name": "new"}})
        await ask.patch(f"{CONFIG}/new", {"data": {"a": "b"}})
        await ask("DELETE", f"{CONFIG}/new")
        lines = await watch.until(5)
        expected = [("ADDED", "c000"), ("ADDED", "c001"), ("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "new")]
        assert seen(lines) == expected
        revisions = [int(line["object"]["metadata"]["resourceVersion"]) for line in lines]
        assert revisions == sorted(set(revisions))
        assert lines[-1]["object"]["data"] == {"a": "b"}
        await watch.end()

    run(test)


def test_a_watch_resumes_where_it_stopped() -> None:
    async def test(ask: Server) -> None:
        made = await fill(ask, 4)
        rev = made[1]["metadata"]["resourceVersion"]
        watch = Watching(ask, f"/api/v1/watch/namespaces/default/configmaps?resourceVersion={rev}")
        assert seen(await watch.until(2)) == [("ADDED", "c002"), ("ADDED", "c003")]
        await watch.end()

    run(test)


def test_a_selector_makes_objects_come_and_go() -> None:
    async def test(ask: Server) -> None:
        await ask.create(CONFIG, {"metadata": {"name": "c"}})
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        watch = Watching(ask, f"{CONFIG}?watch=true&labelSelector=on&resourceVersion={rev}")
        for labels in ({"on": "1"}, {"on": "2"}, {"on": None}, {"off": "1"}, {"on": "3"}):
            await ask.patch(f"{CONFIG}/c", {"metadata": {"labels": labels}})
        await ask("DELETE", f"{CONFIG}/c")
        lines = await watch.until(5)
        assert [line["type"] for line in lines] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
        assert lines[2]["object"]["metadata"]["labels"] == {"on": "2"}
        await watch.end()

    run(test)


def test_a_watch_of_one_object_by_name() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 3)
        watch = Watching(ask, f"{CONFIG}?watch=1&fieldSelector=metadata.name%3Dc001")
        await watch.until(1)
        await ask.create(CONFIG, {"metadata": {"name": "c0012"}})
        await ask("DELETE", f"{CONFIG}/c001")
        assert seen(await watch.until(2)) == [("ADDED", "c001"), ("DELETED", "c001")]
        await watch.end()

    run(test)


def test_initial_events_end_with_a_bookmark() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 2)
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        watch = Watching(ask, f"{CONFIG}?watch=1&{INITIAL}")
        lines = await watch.until(3)
        assert [line["type"] for line in lines] == ["ADDED", "ADDED", "BOOKMARK"]
        end = lines[2]["object"]["metadata"]
        assert end["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert end["resourceVersion"] == rev
        await watch.end()
        bad = await ask("GET", f"{CONFIG}?watch=1&sendInitialEvents=true")
        assert (bad.status, bad.json["details"]["kind"]) == (422, "ListOptions")

    run(test)


def test_a_watch_ends_in_time_with_a_last_bookmark() -> None:
    async def test(ask: Server) -> None:
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        await fill(ask, 1, "kube-public")
        query = f"watch=1&resourceVersion={rev}&timeoutSeconds=1&allowWatchBookmarks=true"
        lines = (await ask("GET", f"{CONFIG}?{query}")).lines
        assert [line["type"] for line in lines] == ["BOOKMARK"]
        assert int(lines[0]["object"]["metadata"]["resourceVersion"]) > int(rev)

    run(test)


def test_a_watch_from_forgotten_history_says_so() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 5)
        await ask.store.compact(await ask.store.current_rev())
        answer = await ask("GET", f"{CONFIG}?watch=1&resourceVersion=3")
        assert answer.status == 200
        assert [line["type"] for line in answer.lines] == ["ERROR"]
        assert (answer.lines[0]["object"]["code"], answer.lines[0]["object"]["reason"]) == (410, "Expired")

    run(test, MemoryStore(keep_revisions=1))


def test_a_slow_watcher_is_ended_and_others_go_on() -> None:
    async def test(ask: Server) -> None:
        quick = Watching(ask, f"{CONFIG}?watch=1")
        sent: list[dict[str, Any]] = []
        hold = asyncio.Event()
        slow = asyncio.create_task(ask.open("GET", f"{CONFIG}?watch=1", None, sent, hold=hold))
        while len(ask.cluster.watches) < 2:
            await asyncio.sleep(0)
        for i in range(40):
            await ask.create(CONFIG, {"metadata": {"name": f"c{i:03}"}})
            await quick.until(i + 1)
        hold.set()
        await asyncio.wait_for(slow, 5)
        got = b"".join(message["body"] for message in sent[1:]).count(b"\n")
        assert 0 < got < 40
        assert sent[-1]["body"] == b""
        await quick.end()

    run(test, MemoryStore(buffer_events=8))


def test_stopping_ends_watches_and_takes_no_more() -> None:
    async def test(ask: Server) -> None:
        watch = Watching(ask, f"{CONFIG}?watch=1")
        await asyncio.sleep(0.01)
        ask.cluster.stop()
        await asyncio.wait_for(watch.task, 5)
        assert watch.sent[-1] == {"type": "http.response.body", "body": b""}
        assert (await ask("GET", f"{CONFIG}?watch=1")).status == 503
        assert (await ask("GET", "/readyz")).status == 500
        assert (await ask("GET", "/livez")).status == 200

    run(test)


def test_watchers_of_one_event_share_its_bytes() -> None:
    async def test(ask: Server) -> None:
        rev = (await ask("GET", CONFIG)).json["metadata"]["resourceVersion"]
        watches = [Watching(ask, f"{CONFIG}?watch=1&resourceVersion={rev}") for _ in range(20)]
        await asyncio.sleep(0.01)
        await fill(ask, 1)
        for watch in watches:
            await watch.until(1)
        (cached,) = [one for key, one in ask.cluster.events._seen.items() if "c000" in key[1]]
        assert len(cached.lines) == 1
        for watch in watches:
            await watch.end()

    run(test)


# Forms ----------------------------------------------------------------------------------------------------------


def test_tables_for_get_list_and_watch() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 2)
        listed = (await ask("GET", CONFIG, accept=TABLE)).json
        assert [column["name"] for column in listed["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert [row["cells"][:2] for row in listed["rows"]] == [["c000", "0"], ["c001", "0"]]
        assert listed["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        whole = (await ask("GET", f"{CONFIG}/c000?includeObject=Object", accept=TABLE)).json
        assert whole["rows"][0]["object"]["kind"] == "ConfigMap"
        bare = (await ask("GET", f"{CONFIG}/c000?includeObject=None", accept=TABLE)).json
        assert "object" not in bare["rows"][0]
        watch = Watching(ask, f"{CONFIG}?watch=1", accept=TABLE)
        lines = await watch.until(2)
        assert lines[0]["object"]["columnDefinitions"] is not None
        assert lines[1]["object"]["columnDefinitions"] is None
        await watch.end()

    run(test)


def test_metadata_alone() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 1)
        one = (await ask("GET", f"{CONFIG}/c000", accept=PARTIAL)).json
        assert (one["kind"], one["apiVersion"], set(one)) == (
            "PartialObjectMetadata", "meta.k8s.io/v1", {"kind", "apiVersion", "metadata"},
        )  # fmt: skip
        many = (await ask("GET", CONFIG, accept=PARTIAL_LIST)).json
        assert many["kind"] == "PartialObjectMetadataList"
        assert many["items"][0]["metadata"]["name"] == "c000"

    run(test)


@pytest.mark.parametrize(
    "accept",
    ["application/vnd.kubernetes.protobuf, */*", "*/*", "", "application/json;stream=watch", "text/html, */*;q=0.8"],
)
def test_json_is_answered_wherever_it_is_accepted(accept: str) -> None:
    async def test(ask: Server) -> None:
        answer = await ask("GET", CONFIG, accept=accept)
        assert (answer.headers["content-type"], answer.json["kind"]) == ("application/json", "ConfigMapList")

    run(test)


# What describes the server --------------------------------------------------------------------------------------


def test_aggregated_discovery_lists_what_legacy_discovery_lists() -> None:
    async def test(ask: Server) -> None:
        for root in ("/api", "/apis"):
            aggregated = await ask("GET", root, accept=AGGREGATED)
            assert aggregated.headers["content-type"].endswith("as=APIGroupDiscoveryList")
            for group in aggregated.json["items"]:
                for version in group["versions"]:
                    name = group["metadata"].get("name")
                    path = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                    plain = (await ask("GET", path)).json["resources"]
                    flat = {one["name"]: one["verbs"] for one in plain}
                    for one in version["resources"]:
                        assert flat.pop(one["resource"]) == one["verbs"]
                        for sub in one.get("subresources", []):
                            assert flat.pop(f"{one['resource']}/{sub['subresource']}") == sub["verbs"]
                    assert not flat
            again = await ask("GET", root, accept=AGGREGATED, if_none_match=aggregated.headers["etag"])
            assert (again.status, again.body) == (304, b"")

    run(test)


def test_openapi_documents_are_whole_and_cached_by_their_hash() -> None:
    async def test(ask: Server) -> None:
        index = (await ask("GET", "/openapi/v3")).json["paths"]
        assert "apis/discovery.k8s.io/v1" in index
        for entry in index.values():
            url = entry["serverRelativeURL"]
            document = await ask("GET", url)
            assert document.headers["cache-control"] == "public, immutable"
            schemas = document.json["components"]["schemas"]
            wanted = _references(document.json)
            assert wanted <= set(schemas)
            assert (await ask("GET", url, if_none_match=document.headers["etag"])).status == 304
            moved = await ask("GET", url.partition("?")[0] + "?hash=0")
            assert (moved.status, moved.headers["location"]) == (301, url)
        patch = (await ask("GET", index["api/v1"]["serverRelativeURL"])).json["paths"][
            "/api/v1/namespaces/{namespace}/services/{name}"
        ]["patch"]
        assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in patch["parameters"]}

    run(test)


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_references(value) for value in node))
    return set()


def test_health_version_and_metrics() -> None:
    async def test(ask: Server) -> None:
        assert (await ask("GET", "/livez", token="")).body == b"ok"
        verbose = (await ask("GET", "/readyz?verbose", token="")).body.decode()
        assert verbose.startswith("[+]ping ok\n")
        assert verbose.endswith("readyz check passed\n")
        assert (await ask("GET", "/readyz/ping", token="")).status == 403
        assert (await ask("GET", "/readyz/ping")).body == b"ok"
        assert (await ask("GET", "/readyz/unheard-of")).status == 404
        assert (await ask("GET", "/version/", token="")).json["minor"] == "36"
        ask.cluster.checks["disk"] = lambda: "it is full"
        broken = await ask("GET", "/livez?verbose", token="")
        assert (broken.status, "[-]disk failed: it is full" in broken.body.decode()) == (500, True)
        assert (await ask("GET", "/livez?exclude=disk", token="")).status == 200
        await ask("GET", CONFIG)
        await ask("GET", "/api/v1/namespaces/x/nothing-like-it")
        metrics = (await ask("GET", "/metrics")).body.decode()
        counted = 'apiserver_request_total{code="200",component="apiserver",group="",resource="configmaps",scope='
        assert f'{counted}"namespace",subresource="",verb="LIST",version="v1"}} 1.0' in metrics
        assert 'resource="unknown"' in metrics
        assert "nothing-like-it" not in metrics

    run(test)


# Who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "method", "path", "status", "message"),
    [
        ("", "GET", CONFIG, 403, 'User "system:anonymous" cannot list resource "configmaps" in API group "" in the'),
        ("", "GET", "/api/v1/nodes/n", 403, 'nodes "n" is forbidden: User "system:anonymous" cannot get resource'),
        ("", "GET", "/api/v1/nodes", 403, "at the cluster scope"),
        ("", "GET", "/metrics", 403, 'forbidden: User "system:anonymous" cannot get path "/metrics"'),
        ("", "POST", "/version", 403, 'cannot post path "/version"'),
        ("nobody's", "GET", CONFIG, 401, "Unauthorized"),
        ("nobody's", "GET", "/version", 401, "Unauthorized"),
        ("reader-token", "GET", CONFIG, 200, ""),
        ("reader-token", "GET", f"{CONFIG}?watch=1&timeoutSeconds=1", 200, ""),
        ("reader-token", "POST", CONFIG, 403, 'User "reader" cannot create resource "configmaps"'),
        ("reader-token", "PATCH", f"{CONFIG}/c/status", 403, 'cannot patch resource "configmaps/status"'),
        ("reader-token", "DELETE", CONFIG, 403, "cannot deletecollection resource"),
    ],
)
def test_who_may_do_what(token: str, method: str, path: str, status: int, message: str) -> None:
    async def test(ask: Server) -> None:
        answer = await ask(method, path, token=token)
        assert answer.status == status, answer.body
        if message:
            assert answer.json["kind"] == "Status"
            assert message in answer.json["message"]

    run(test)


def test_users_learn_about_themselves() -> None:
    async def test(ask: Server) -> None:
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        wish = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods"}}}
        assert (await ask("POST", path, wish)).json["status"] == {"allowed": True}
        assert (await ask("POST", path, wish, token="reader-token")).json["status"] == {"allowed": False}
        raw = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/openapi/v3"}}}
        assert (await ask("POST", path, raw, token="reader-token")).json["status"]["allowed"] is True
        who = await ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token="reader-token")
        assert who.json["status"]["userInfo"]["username"] == "reader"
        rules = await ask(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
        )
        assert rules.json["status"]["resourceRules"][0]["verbs"] == ["*"]

    run(test)


def test_one_and_many_are_not_mixed_up() -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 1)
        many = await ask("GET", CONFIG, accept=PARTIAL)
        words = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"
        assert (many.status, many.json["reason"], many.json["message"]) == (406, "NotAcceptable", words)
        one = await ask("GET", f"{CONFIG}/c000", accept=PARTIAL_LIST)
        assert one.json["message"].endswith("but the requested object is not a list (*core.ConfigMap)")

    run(test)


@pytest.mark.parametrize("form", [TABLE.partition(",")[0], PARTIAL_LIST])
def test_v1beta1_of_the_forms_is_spoken_too(form: str) -> None:
    async def test(ask: Server) -> None:
        await fill(ask, 1)
        new, old = [(await ask("GET", CONFIG, accept=form.replace("v=v1", f"v={v}"))).json for v in ("v1", "v1beta1")]
        assert (new["apiVersion"], old["apiVersion"]) == ("meta.k8s.io/v1", "meta.k8s.io/v1beta1")
        item = old["rows"][0]["object"] if "rows" in old else old["items"][0]
        assert item["apiVersion"] == "meta.k8s.io/v1beta1"
        unknown = await ask("GET", CONFIG, accept=form.replace("v=v1", "v=v2"))
        assert unknown.status == 406

    run(test)


@pytest.mark.parametrize(
    ("query", "agent", "lines"),
    [("?pretty=true", "x", True), ("?pretty=false", "curl/8", False), ("", "curl/8", True), ("", "kubectl", False)],
)
def test_people_get_lines(query: str, agent: str, lines: bool) -> None:
    async def test(ask: Server) -> None:
        for path, status in ((CONFIG, 200), (f"{CONFIG}/none", 404), ("/api", 200), ("/version", 200)):
            answer = await ask("GET", path + query, user_agent=agent)
            assert (answer.status, answer.body.startswith(b'{\n  "')) == (status, lines), path
            assert int(answer.headers["content-length"]) == len(answer.body)

    run(test)
