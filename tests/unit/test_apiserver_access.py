"""What describes the server, and who may ask it."""

from typing import Any

import pytest

from tests.apiserver_app import READER, Server, Watching, run
from tests.waiting import until_async

CONFIG = "/api/v1/namespaces/default/configmaps"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


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
        assert (broken.status, "[-]disk failed: reason withheld" in broken.body.decode()) == (500, True)
        assert (await ask("GET", "/livez/disk")).body == b"internal server error: it is full\n"
        assert (await ask("GET", "/livez?exclude=disk", token="")).status == 200
        warned = (await ask("GET", "/livez?verbose&exclude=disk&exclude=z&exclude=a")).body.decode()
        assert "[+]disk excluded: ok\n" in warned
        assert 'warn: some health checks cannot be excluded: no matches for "a","z"\nlivez check passed\n' in warned
        assert (
            'kubernetes_healthcheck{name="disk",type="livez"} 0\n' in (await ask("GET", "/metrics/slis")).body.decode()
        )
        await ask("GET", CONFIG)
        await ask("GET", "/api/v1/namespaces/x/nothing-like-it")
        metrics = (await ask("GET", "/metrics")).body.decode()
        counted = 'apiserver_request_total{code="200",component="apiserver",group="",resource="configmaps",scope='
        assert f'{counted}"namespace",subresource="",verb="LIST",version="v1"}} 1.0' in metrics
        assert 'resource="unknown"' in metrics
        assert "nothing-like-it" not in metrics

    run(test)


@pytest.mark.parametrize(
    ("path", "method", "status", "media"),
    [
        *((path, "POST", 200, "text/plain") for path in ("/livez", "/readyz/ping", "/metrics")),
        *((path, "HEAD", 405, "application/json") for path in ("/version", "/api", "/api/v1", "/apis/apps/v1")),
        ("/apis", "PUT", 200, "application/json"),
        ("/apis/apps/", "DELETE", 200, "application/json"),
        *((path, "GET", 404, "application/json") for path in ("/version/x", "/api/v2", "/api/v1/a/b/c/d/e",
                                                               "/apis/apps/v2", "/openid/v1/jwks/x")),
        *((path, "GET", 404, "text/plain") for path in ("/livez/", "/livez/ping/", "/apis/none", "/apis/none/v1",
                                                        "/metrics/", "/openid", "/none")),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", "HEAD", 404, "application/json"),
        ("/api/v1/namespaces/default/bindings/x", "HEAD", 404, "application/json"),
        ("/api/v1/nodes/x", "HEAD", 405, "application/json"),
        ("/.well-known/openid-configuration/", "GET", 200, "application/json"),
        ("/openid/v1/jwks/", "GET", 200, "application/jwk-set+json"),
        ("/openid/v1/jwks", "POST", 405, "application/json"),
    ],
)  # fmt: skip
def test_pages_and_their_methods(path: str, method: str, status: int, media: str) -> None:
    async def test(ask: Server) -> None:
        answer = await ask(method, path)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (status, media)

    run(test)


def test_a_path_is_asked_about_by_its_method_and_what_looks_like_a_resource_as_one() -> None:
    async def test(ask: Server) -> None:
        for method, path, why in (
            ("HEAD", "/livez", 'forbidden: User "reader" cannot head path "/livez"'),
            ("GET", "/a<b>", 'forbidden: User "reader" cannot get path "/a&lt;b&gt;"'),
            (
                "GET",
                "/apis/none/v1/namespaces/x/things/%22y%22",
                'things.none "\\"y\\"" is forbidden: User "reader" cannot '
                'get resource "things" in API group "none" in the namespace "x"',
            ),
            (
                "DELETE",
                "/api/v1/nodes?fieldSelector=metadata.name=x",
                'nodes is forbidden: User "reader" cannot '
                'deletecollection resource "nodes" in API group "" at the cluster scope',
            ),
        ):
            refused = await ask(method, path.replace("%22", '"'), token=READER)
            assert (refused.status, refused.json["message"]) == (403, why)
        for path in ("/api/v1/nodes?timeout=1", "/livez?timeout=1"):
            timed = await ask("GET", path, token="nobody's")
            assert (timed.status, "missing unit in duration" in timed.json["message"]) == (400, True)
        keys = await ask("GET", "/openid/v1/jwks", accept="application/json")
        assert (keys.status, keys.json["reason"]) == (406, "NotAcceptable")

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


def test_who_may_read_may_watch() -> None:
    async def test(ask: Server) -> None:
        watch = Watching(ask, f"{CONFIG}?watch=1", token=READER)
        await until_async(lambda: watch.sent)
        assert watch.sent[0]["status"] == 200
        await watch.end()

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


def test_of_two_authorization_headers_the_first_counts_everywhere() -> None:
    async def test(server: Server) -> None:
        app = server.app

        async def twice(scope: Any, receive: Any, send: Any) -> None:
            await app(scope | {"headers": [(b"authorization", b"Bearer unknown"), *scope["headers"]]}, receive, send)

        server.app = twice  # type: ignore[assignment]  # in front of it
        for path in ("/api/v1/nodes", "/metrics"):
            assert (await server("GET", path)).status == 401, path

    run(test)
