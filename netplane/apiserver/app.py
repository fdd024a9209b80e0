"""The application: one route for all resources, and FastAPI's for what describes the server."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from netplane.apiserver import door
from netplane.apiserver.access import service_tokens
from netplane.apiserver.cluster import Cluster
from netplane.apiserver.describe import discovery, health, openapi, openapi_v2, version
from netplane.apiserver.door import ResourceRoute
from netplane.apiserver.front import Front
from netplane.apiserver.process.metrics import RequestMetrics
from netplane.apiserver.wire import reply as replies
from netplane.apiserver.wire.reply import NOT_FOUND, Receive, Reply, Scope, Send, of_json

_ANY = "/{path:path}"
_ALL = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Answer = Callable[[Request], Awaitable[Reply]]


class Encoded(Response):
    """A Reply as a Starlette response: its bytes go out as they are."""

    def __init__(self, answer: Reply) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await replies.send(self._answer, send)


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

    @_get(app, cluster, "/metrics")
    async def scrape(request: Request) -> Reply:
        return Reply(metrics.text(), 200, b"text/plain; version=0.0.4; charset=utf-8")

    @_get(app, cluster, _ANY)
    async def unknown(request: Request) -> Reply:
        return NOT_FOUND

    return Front(ResourceRoute(cluster, metrics), app)


def _get(app: FastAPI, cluster: Cluster, *paths: str) -> Callable[[Answer], Answer]:
    """Serve `answer` at these paths, behind authentication and authorization."""

    def register(answer: Answer) -> Answer:
        async def endpoint(request: Request) -> Response:
            return Encoded(await door.answer(cluster, request.scope, lambda: answer(request)))

        for path in paths:
            methods = _ALL if path == _ANY else ["GET", "HEAD"]
            app.add_api_route(path, endpoint, methods=methods, include_in_schema=False)
        return answer

    return register


def _describe(app: FastAPI, cluster: Cluster) -> None:
    @_get(app, cluster, "/")
    async def paths(request: Request) -> Reply:
        return openapi.root_paths()

    @_get(app, cluster, "/version", "/version/")
    async def version_(request: Request) -> Reply:
        return of_json(version.version())

    @_get(app, cluster, "/api", "/api/")
    async def api(request: Request) -> Reply:
        host, port = request.scope["server"]
        return _root(request, discovery.api_versions(f"{host}:{port}"), core=True)

    @_get(app, cluster, "/apis", "/apis/")
    async def apis(request: Request) -> Reply:
        return _root(request, discovery.group_list(), core=False)

    @_get(app, cluster, "/api/v1", "/api/v1/")
    async def core(request: Request) -> Reply:
        return of_json(discovery.resource_list("", "v1"))

    @_get(app, cluster, "/apis/{group}", "/apis/{group}/")
    async def group(request: Request) -> Reply:
        name = request.path_params["group"]
        return of_json(discovery.api_group(name)) if name in discovery.groups() else NOT_FOUND

    @_get(app, cluster, "/apis/{group}/{version}", "/apis/{group}/{version}/")
    async def group_version(request: Request) -> Reply:
        name, which = request.path_params["group"], request.path_params["version"]
        return of_json(discovery.resource_list(name, which)) if which in discovery.versions(name) else NOT_FOUND


def _schemas(app: FastAPI, cluster: Cluster) -> None:
    @_get(app, cluster, "/openapi/v2", "/openapi/v2/")
    async def swagger(request: Request) -> Reply:
        return openapi_v2.serve(request.headers.get("accept", ""), request.headers.get("if-none-match", ""))

    @_get(app, cluster, "/openapi/v3", "/openapi/v3/")
    async def schemas(request: Request) -> Reply:
        return openapi.index()

    @_get(app, cluster, "/openapi/v3/{document:path}")
    async def schema(request: Request) -> Reply:
        digest, etag = request.query_params.get("hash", ""), request.headers.get("if-none-match", "")
        return openapi.serve(request.path_params["document"], digest, etag) or NOT_FOUND


def _issuer(app: FastAPI, cluster: Cluster) -> None:
    @_get(app, cluster, "/.well-known/openid-configuration")
    async def issuer(request: Request) -> Reply:
        return service_tokens.configuration(
            cluster.issuer, f"{request.url.scheme}://{request.url.netloc}/openid/v1/jwks"
        )

    @_get(app, cluster, "/openid/v1/jwks")
    async def keys(request: Request) -> Reply:
        return service_tokens.key_set(cluster.issuer.key)


def _root(request: Request, plain: dict[str, object], *, core: bool) -> Reply:
    accept, etag = request.headers.get("accept", ""), request.headers.get("if-none-match", "")
    return discovery.root_document(accept, etag, plain, core=core)


def _health(app: FastAPI, cluster: Cluster) -> None:
    @_get(app, cluster, "/livez", "/readyz", "/healthz", "/livez/{check:path}", "/readyz/{check:path}")
    async def check(request: Request) -> Reply:
        excluded = tuple(request.query_params.getlist("exclude"))
        return health.answer(cluster, request.url.path, verbose="verbose" in request.query_params, exclude=excluded)
