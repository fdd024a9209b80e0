"""What the server calls for every request: those for resources go straight to their route, all others to FastAPI.

FastAPI's own layers (errors, telemetry, body limit, dependencies, routing) take some 15 µs of a request, as much as
reading an object does, and have nothing to add where a route turns every failure into a Status by itself.
"""

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from netplane.apiserver.door import ResourceRoute


class Front:
    """An ASGI application: `resources` first, then `rest`."""

    def __init__(self, resources: ResourceRoute, rest: ASGIApp) -> None:
        self._resources = resources
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        match, found = self._resources.matches(scope)
        if match is Match.FULL:
            scope.update(found)
            await self._resources.handle(scope, receive, send)
        else:
            await self._rest(scope, receive, send)
