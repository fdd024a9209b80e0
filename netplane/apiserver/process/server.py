"""One apiserver process, from its settings to its end.

sockets → certificate → store → allocators → bootstrap → kubeconfig → serve …  SIGTERM → end watches → drain → close
"""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import uvicorn

from netplane.apiserver import app, bootstrap, following, garbage, leading, namespaces
from netplane.apiserver.access import peer, tokens
from netplane.apiserver.access.peer import Protocol
from netplane.apiserver.access.policies import Policies
from netplane.apiserver.access.service_tokens import Issuer, load_key
from netplane.apiserver.access.tokens import User
from netplane.apiserver.admission import service_cidrs
from netplane.apiserver.admission.allocation import Allocator
from netplane.apiserver.audit import events as audit
from netplane.apiserver.audit import policy as audit_policy
from netplane.apiserver.cluster import Cluster, now
from netplane.apiserver.limits.levels import Limits
from netplane.apiserver.process import heap, identity, kubeconfig, listeners, pki, storage
from netplane.apiserver.process.lock import held
from netplane.apiserver.process.settings import Listener, Settings
from netplane.errors import UsageError
from netplane.obs import logs
from netplane.store.protocol import Store, StoreError, Unavailable

log = logs.get("apiserver")

KEEP_ALIVE_S = 180
DRAIN_S = 10
COMPACT_EVERY_S = 300
BOOTSTRAP_EVERY_S = 10
AGAIN_S = 1


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises NetplaneError for whatever cannot be started."""
    _check_files(settings)
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--data-dir {settings.data_dir}: {error.strerror}", hint="name a folder you may write to"
        ) from error
    with held(settings.data_dir / "lock"):
        sockets = listeners.open_all(settings.listeners)
        actual = tuple(listeners.actual(one, made) for one, made in zip(settings.listeners, sockets, strict=True))
        settings = settings._replace(listeners=actual)
        with contextlib.ExitStack() as stack:
            for made in sockets:
                stack.callback(made.close)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_serve(settings, sockets))


def _check_files(settings: Settings) -> None:
    """What the user brings is looked at before anything is made. Raises UsageError naming the flag."""
    if settings.token_file is not None:
        tokens.load(settings.token_file)
    if settings.client_ca is not None:
        pki.check_ca(settings.client_ca)
    if settings.tls_cert is not None and settings.tls_key is not None:
        pki.given(settings.tls_cert, settings.tls_key)
    if settings.audit.policy is not None:
        audit_policy.load(settings.audit.policy)


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    import uvloop  # noqa: PLC0415 - only the server needs it

    return uvloop.Loop


async def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    heap.hold()
    users = _users(settings)
    auditor = audit.of(settings.audit)
    serving = _certificate(settings)
    store = await storage.open_store(settings.data_dir, settings.etcd, fsync=settings.fsync)
    try:
        issuer = Issuer(load_key(settings.data_dir / "pki" / "sa.pem"), store, settings.issuer)
        await identity.check(store, settings, issuer.key.kid, serving.ca_pem)
        allocator = await Allocator.load(store, settings)
        limits = Limits(*settings.load)
        cluster = Cluster(store, settings, users, allocator, issuer, Policies(store), limits, auditor)
        await _serve_cluster(cluster, serving, sockets)
    finally:
        await store.close()
        if auditor is not None:
            auditor.writer.close()


async def _serve_cluster(cluster: Cluster, serving: pki.Serving, sockets: list[socket.socket]) -> None:
    store, settings = cluster.store, cluster.settings
    if store.shared:
        cluster.checks["etcd"] = store.problem
    await bootstrap.run(cluster, settings.advertise_port)
    server = _server(cluster, serving)
    heap.settle()
    if settings.kubeconfig_out is not None:
        url = client_url(settings.listeners[0])
        kubeconfig.write(settings.kubeconfig_out, url, serving.ca_pem, tokens.first_master(cluster.users))
    async with _background(cluster, server):
        await _until_told(server, cluster, sockets)
    with contextlib.suppress(StoreError):
        await cluster.peers.leave()


def _users(settings: Settings) -> Mapping[str, User]:
    if settings.token_file is not None:
        return tokens.load(settings.token_file)
    return tokens.ensure_admin(settings.data_dir / "pki" / "admin-token.csv")


def _certificate(settings: Settings) -> pki.Serving:
    if settings.tls_cert is not None and settings.tls_key is not None:
        return pki.given(settings.tls_cert, settings.tls_key)._replace(client_ca=settings.clients_ca)
    own = pki.ensure(settings.data_dir / "pki", server_names(settings), now())
    return own._replace(client_ca=settings.clients_ca)


def server_names(settings: Settings) -> list[str]:
    """All names and addresses that clients may use."""
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    addresses = [str(one.address) for one in settings.listeners if not one.address.is_unspecified]
    first = str(settings.service_ip)
    return ["localhost", *service, "127.0.0.1", "::1", first, str(settings.advertise), *addresses]


def client_url(listener: Listener) -> str:
    """Where a client on this machine finds a listener."""
    address = listener.address
    if address.is_unspecified:
        return f"https://127.0.0.1:{listener.port}"
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"https://{host}:{listener.port}"


def _server(cluster: Cluster, serving: pki.Serving) -> uvicorn.Server:
    config = uvicorn.Config(
        app.build(cluster),
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=serving.certfile,
        ssl_keyfile=serving.keyfile,
        ssl_ca_certs=serving.client_ca,
        ssl_cert_reqs=ssl.CERT_OPTIONAL if serving.client_ca else ssl.CERT_NONE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    config.load()
    # Its warnings are about clients that ask for other protocols (kubectl exec), with advice that does not fit.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return uvicorn.Server(config)


async def _until_told(server: uvicorn.Server, cluster: Cluster, sockets: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        log.info("stopping", watches=len(cluster.watches))
        cluster.stop()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    for listener in cluster.settings.listeners:
        log.info("listening", address=str(listener))
    # uvicorn's serve() would put its own signal handlers in place of ours.
    await server._serve(sockets)


@contextlib.asynccontextmanager
async def _background(cluster: Cluster, server: uvicorn.Server) -> AsyncIterator[None]:
    work = [
        lambda: leading.run(cluster.store, lambda: _once_for_all(cluster)),
        lambda: service_cidrs.run(cluster),
        lambda: following.run(cluster),
        heap.run,
        lambda: _compact(cluster.store),
        lambda: _bootstrap_again(cluster),
        cluster.limits.run,
        lambda: peer.close_slow(server),
    ]
    tasks = [asyncio.create_task(_keep_going(one)) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _once_for_all(cluster: Cluster) -> None:
    """What one apiserver does for all on its store."""
    async with asyncio.TaskGroup() as group:
        for work in (namespaces.run, garbage.run):
            group.create_task(_keep_going(functools.partial(work, cluster)))


async def _keep_going(work: Callable[[], Awaitable[None]]) -> None:
    """Work that never ends by itself; when it fails it is told and begun again."""
    while True:
        try:
            await work()
        except Unavailable as error:
            log.warning("background work waits for the store", problem=error.message)
        except Exception:
            log.exception("background work failed; trying again")
        await asyncio.sleep(AGAIN_S)


async def _compact(store: Store) -> None:
    """Every five minutes, forget what is older than five minutes."""
    before = await store.current_rev()
    while True:
        await asyncio.sleep(COMPACT_EVERY_S)
        await store.compact(before)
        before = await store.current_rev()


async def _bootstrap_again(cluster: Cluster) -> None:
    """What every cluster has comes back when somebody deletes it."""
    while True:
        await asyncio.sleep(BOOTSTRAP_EVERY_S)
        await bootstrap.run(cluster, cluster.settings.advertise_port)
