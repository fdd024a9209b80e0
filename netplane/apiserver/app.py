"""The application: one route for all resources, and pages for what describes the server.

Pages answer every method, as kube-apiserver's do, but those of its REST library, which are for GET alone; below these,
what is not found is a Status, elsewhere plain text.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from starlette.routing import Route

from netplane.api import errors
from netplane.apiserver import door
from netplane.apiserver.access import service_tokens
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.describe import discovery, health, openapi, openapi_v2, version
from netplane.apiserver.door import ResourceRoute
from netplane.apiserver.front import Front
from netplane.apiserver.process.metrics import RequestMetrics
from netplane.apiserver.wire import reply as replies
from netplane.apiserver.wire.reply import NOT_FOUND, Receive, Reply, Scope, Send, of_json

Answer = Callable[[Request], Awaitable[Reply]]


class Page:
    """What is served at a path that is no resource, behind authentication and authorization."""

    def __init__(self, cluster: Cluster, answer: Answer, *, reading: bool) -> None:
        self._cluster = cluster
        self._answer = answer
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; those who only read hear of it when a method is another one."""
        request = Request(scope, receive)

        async def answer() -> Reply:
            if self._reading and scope["method"] != "GET":
                raise errors.method_not_allowed()
            return await self._answer(request)

        await replies.send(await door.answer(self._cluster, scope, answer), send)


def build(cluster: Cluster) -> Front:
    """The application that serves `cluster`."""
    app = FastAPI(title="netplane apiserver", openapi_url=None, docs_url=None, redoc_url=None)
    metrics = RequestMetrics()
    metrics.watch_cluster(cluster)
    app.router.redirect_slashes = False
    _describe(app, cluster)
    _schemas(app, cluster)
    _issuer(app, cluster)
    _health(app, cluster)

    @_page(app, cluster, "/metrics")
    async def scrape(request: Request) -> Reply:
        return Reply(metrics.text(), 200, METRICS)

    @_page(app, cluster, "/{path:path}")
    async def unknown(request: Request) -> Reply:
        return _unknown(request.url.path)

    return Front(ResourceRoute(cluster, metrics), app)


METRICS = b"text/plain; version=0.0.4; charset=utf-8"


def _unknown(path: str) -> Reply:
    """Not found: a Status below what kube-apiserver's REST library serves."""
    first, _, rest = path.removeprefix("/").partition("/")
    group = rest.partition("/")
    known = first == "apis" and group[0] in discovery.groups() and group[2]
    if (first in ("api", "version") and rest) or known or path.startswith(_LIBRARY):
        raise errors.no_such_resource()
    return NOT_FOUND


_ISSUER, _KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
_LIBRARY = (f"{_ISSUER}/", f"{_KEYS}/")


def _page(app: FastAPI, cluster: Cluster, *paths: str, reading: bool = False) -> Callable[[Answer], Answer]:
    """Serve `answer` at these paths; `reading`: to GET alone."""

    def register(answer: Answer) -> Answer:
        app.router.routes.extend(Route(path, Page(cluster, answer, reading=reading)) for path in paths)
        return answer

    return register


def _describe(app: FastAPI, cluster: Cluster) -> None:
    @_page(app, cluster, "/", "/index.html")
    async def paths(request: Request) -> Reply:
        return openapi.root_paths()

    @_page(app, cluster, "/version", "/version/", reading=True)
    async def version_(request: Request) -> Reply:
        return of_json(version.version())

    @_page(app, cluster, "/api", "/api/", reading=True)
    async def api(request: Request) -> Reply:
        host, port = request.scope["server"]
        return _root(request, discovery.api_versions(f"{host}:{port}"), core=True)

    @_page(app, cluster, "/apis", "/apis/")
    async def apis(request: Request) -> Reply:
        return _root(request, discovery.group_list(), core=False)

    @_page(app, cluster, "/api/v1", "/api/v1/", reading=True)
    async def core(request: Request) -> Reply:
        return of_json(discovery.resource_list("", "v1"))

    @_page(app, cluster, "/apis/{group}", "/apis/{group}/")
    async def group(request: Request) -> Reply:
        name = request.path_params["group"]
        return of_json(discovery.api_group(name)) if name in discovery.groups() else NOT_FOUND

    @_page(app, cluster, "/apis/{group}/{version}", "/apis/{group}/{version}/")
    async def group_version(request: Request) -> Reply:
        name, which = request.path_params["group"], request.path_params["version"]
        if which not in discovery.versions(name):
            return _unknown(request.url.path)
        if request.method != "GET":
            raise errors.method_not_allowed()
        return of_json(discovery.resource_list(name, which))


def _schemas(app: FastAPI, cluster: Cluster) -> None:
    @_page(app, cluster, "/openapi/v2")
    async def swagger(request: Request) -> Reply:
        return openapi_v2.serve(request.headers.get("accept", ""), request.headers.get("if-none-match", ""))

    @_page(app, cluster, "/openapi/v3")
    async def schemas(request: Request) -> Reply:
        return openapi.index()

    @_page(app, cluster, "/openapi/v3/{document:path}")
    async def schema(request: Request) -> Reply:
        digest, etag = request.query_params.get("hash", ""), request.headers.get("if-none-match", "")
        return openapi.serve(request.path_params["document"], digest, etag) or NOT_FOUND


def _issuer(app: FastAPI, cluster: Cluster) -> None:
    @_page(app, cluster, _ISSUER, f"{_ISSUER}/", reading=True)
    async def issuer(request: Request) -> Reply:
        return service_tokens.configuration(cluster.issuer, f"{request.url.scheme}://{request.url.netloc}{_KEYS}")

    @_page(app, cluster, _KEYS, f"{_KEYS}/", reading=True)
    async def keys(request: Request) -> Reply:
        service_tokens.accepts_keys(request.headers.get("accept", ""))
        return service_tokens.key_set(cluster.issuer.key)


def _root(request: Request, plain: dict[str, object], *, core: bool) -> Reply:
    accept, etag = request.headers.get("accept", ""), request.headers.get("if-none-match", "")
    return discovery.root_document(accept, etag, plain, core=core)


def _health(app: FastAPI, cluster: Cluster) -> None:
    @_page(app, cluster, "/metrics/slis")
    async def states(request: Request) -> Reply:
        return Reply(health.states(cluster), 200, METRICS)

    @_page(app, cluster, *(f"/{one}{tail}" for one in health.ENDPOINTS for tail in ("", "/{check:path}")))
    async def check(request: Request) -> Reply:
        query = request.query_params
        return health.answer(cluster, request.url.path, verbose="verbose" in query, exclude=query.getlist("exclude"))
