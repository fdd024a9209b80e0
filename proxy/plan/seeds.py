"""Endpoints' places as the kernel held them when the proxy started, so that a restart moves no connection."""

import itertools
from collections.abc import Mapping

from netplane.nft.elements import Value
from proxy.plan.affinity import seeded
from proxy.plan.model import ROW_SHARDS, Frontend
from proxy.plan.render import NOTHING, index_slot

_SEEDING = ("sc-endpoints", "sticky-ids", "sticky-endpoints", "sc-sticky-ids", "sc-sticky-endpoints")


def seeds(kernel: Mapping[str, Mapping[bytes, Value]]) -> dict[bytes, Frontend]:
    """Rows that the kernel holds, by frontend: so that a restarted proxy keeps each endpoint's index and number."""
    found = {name: _by_frontend(kernel[name]) for name in _SEEDING}
    made: dict[bytes, Frontend] = {}
    for number in reversed(range(len(ROW_SHARDS))):
        for key, by_index in _by_frontend(kernel[ROW_SHARDS[number]]).items():
            made[key] = Frontend("", _dense(by_index), shard=number)
    for key, by_index in found["sc-endpoints"].items():
        made[key] = made.get(key, NOTHING)._replace(short_rows=_dense(by_index))
    for key in found["sticky-ids"].keys() | found["sc-sticky-ids"].keys():
        plain, handles = seeded(found["sticky-ids"].get(key, {}), found["sticky-endpoints"].get(key, {}))
        short, short_handles = seeded(found["sc-sticky-ids"].get(key, {}), found["sc-sticky-endpoints"].get(key, {}))
        made[key] = Frontend("", plain, short_rows=short, handles=handles, short_handles=short_handles)
    return made


def _by_frontend(elements: Mapping[bytes, Value]) -> dict[bytes, dict[bytes, bytes]]:
    """Data by the last 4 bytes of the key, by what is before them."""
    found: dict[bytes, dict[bytes, bytes]] = {}
    for key, data in elements.items():
        assert isinstance(data, bytes)
        found.setdefault(key[:-4], {})[key[-4:]] = data
    return found


def _dense(rows: Mapping[bytes, bytes]) -> bytes:
    """Rows from index 0 up to the first that is missing."""
    slots = (index_slot(index) for index in range(len(rows)))
    return b"".join(itertools.takewhile(bool, (rows.get(slot, b"") for slot in slots)))
