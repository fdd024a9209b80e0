"""Numbers for session affinity: what the kernel remembers of a client is a number, and this says whose it is.

    handle   u32, in the packet's priority while rules decide      high half: service port, low half: endpoint
    affinity (service port << 16) . client → handle                written by rules, kept by the kernel

A service port has one number across all its frontends, so a client that sticks to an endpoint through the ClusterIP
sticks to it through a NodePort. An endpoint keeps its number as long as any frontend of the service port has it; a
number that became free is used again as late as can be, since clients may still be remembered with it.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping

_MAX = 0xFFFF
HANDLE_BYTES = 4


class _Port:
    """One service port: its number, and its endpoints' numbers by row."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.endpoints: dict[bytes, int] = {}
        self.taken: set[int] = set()
        self.last = 0

    def add(self, row: bytes, endpoint: int) -> None:
        """Give an endpoint its number."""
        self.endpoints[row] = endpoint
        self.taken.add(endpoint)


class Handles:
    """The numbers of one table's service ports and their endpoints."""

    def __init__(self) -> None:
        self._ports: dict[str, _Port] = {}
        self._numbers: set[int] = set()
        self._last = 0

    def adopt(self, name: str, rows: Iterable[bytes], handles: Iterable[bytes]) -> None:
        """Take over what the kernel held for a service port's endpoints, where it contradicts nothing."""
        for row, handle in zip(rows, handles, strict=False):
            number, endpoint = divmod(_number(handle), _MAX + 1)
            if name not in self._ports and number and number not in self._numbers:
                self._add(name, number)
            port = self._ports.get(name)
            if port and port.number == number and endpoint and not (endpoint in port.taken or row in port.endpoints):
                port.add(row, endpoint)
                port.last = max(port.last, endpoint)

    def take(self, name: str, rows: Iterable[bytes]) -> bytes | None:
        """The handles of a service port's endpoints, one after the other; None when all 65,535 numbers are taken."""
        port = self._ports.get(name)
        if port is None:
            number = _next(self._last, self._numbers)
            if number is None:
                return None
            port = self._add(name, number)
        return b"".join(_handle(port, row) for row in rows)

    def keep(self, name: str, rows: set[bytes]) -> None:
        """These are all the endpoints that a service port still has; with none of them, it is gone."""
        port = self._ports.get(name)
        if port is None:
            return
        for row in port.endpoints.keys() - rows:
            port.taken.discard(port.endpoints.pop(row))
        if not rows:
            self._numbers.discard(self._ports.pop(name).number)

    def name(self, number: int) -> str:
        """The service port of a number; "" when it has none."""
        return next((name for name, port in self._ports.items() if port.number == number), "")

    def _add(self, name: str, number: int) -> _Port:
        self._numbers.add(number)
        self._last = number
        made = self._ports[name] = _Port(number)
        return made


def _handle(port: _Port, row: bytes) -> bytes:
    endpoint = port.endpoints.get(row)
    if endpoint is None:
        endpoint = _next(port.last, port.taken)
        assert endpoint is not None, "a frontend has fewer endpoints than there are numbers"
        port.add(row, endpoint)
        port.last = endpoint
    return struct.pack("=I", port.number << 16 | endpoint)


def _next(last: int, taken: set[int]) -> int | None:
    """The first free number after `last`, round and round from 1 to 65,535."""
    return next((n for n in _round(last) if n not in taken), None)


def _round(last: int) -> Iterator[int]:
    yield from range(last + 1, _MAX + 1)
    yield from range(1, last + 1)


def _number(handle: bytes) -> int:
    return int(struct.unpack("=I", handle)[0])


def slots(raw: bytes, width: int) -> list[bytes]:
    """Rows or handles of `width` bytes each, that lie one after the other."""
    return [raw[offset : offset + width] for offset in range(0, len(raw), width)]


def seeded(ids: Mapping[bytes, bytes], endpoints: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """(rows, handles) of a frontend from handles by index and rows by handle; handles without a row are left out."""
    known = [(endpoints[handle], handle) for _, handle in sorted(ids.items()) if handle in endpoints]
    return b"".join(row for row, _ in known), b"".join(handle for _, handle in known)
