"""Apiservers on one store must be one cluster: the same CA and the same key for ServiceAccount tokens.

The first one to start notes their fingerprints beside the objects; one that has others is refused, since its clients
and its tokens would be strangers to the rest.

    /cluster/identity      value: {"serviceAccountKey": "…", "ca": "…"}; ca is "" where certificates are given by flags
"""

import hashlib

import orjson

from netplane.apiserver.process.settings import Settings
from netplane.errors import UsageError
from netplane.store.protocol import Compare, Put, Store

KEY = "/cluster/identity"


async def check(store: Store, settings: Settings, key_id: str, ca_pem: bytes) -> None:
    """Note who we are, or compare. Raises UsageError."""
    if not store.shared:
        return
    own_ca = hashlib.sha256(ca_pem).hexdigest() if settings.tls_cert is None else ""
    ours = {"serviceAccountKey": key_id, "ca": own_ca}
    if (await store.txn([Compare(KEY, 0)], [Put(KEY, orjson.dumps(ours))])).succeeded:
        return
    kv = await store.get(KEY)
    theirs = orjson.loads(kv.value) if kv is not None else ours
    for name, flag in (("serviceAccountKey", "sa.pem"), ("ca", "ca.pem")):
        if theirs[name] and ours[name] and theirs[name] != ours[name]:
            raise UsageError(
                f"{settings.data_dir / 'pki' / flag} is not the one of the cluster in etcd",
                hint="copy sa.pem, ca.pem, ca.crt and admin-token.csv from the pki folder of one that runs there",
            )
