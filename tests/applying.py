"""Server-side apply as the tests of the apiserver ask for it."""

from typing import Any

from tests.apiserver_app import Answer, Server

APPLY = "application/apply-patch+yaml"


async def apply(server: Server, path: str, manager: str, body: dict[str, Any], query: str = "") -> Answer:
    """What `manager` wants an object to be."""
    return await server("PATCH", f"{path}?fieldManager={manager}{query}", body, content_type=APPLY)


def config(**data: str) -> dict[str, Any]:
    """The ConfigMap c, whole."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
