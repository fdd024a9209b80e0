"""What every namespace has: the ServiceAccount `default`, and the ConfigMap `kube-root-ca.crt`.

Pods run as the one and trust the apiserver by the other. Both come back when they are deleted, and the certificates
when they are changed; a namespace on its way out gets nothing new.
"""

import msgspec

from netplane.api.objects import ConfigMap, Namespace, ObjectMeta, ServiceAccount
from netplane.controllers.plan.world import World
from netplane.controllers.plan.writes import NOTHING, Create, Patch, Plan

DEFAULT_ACCOUNT = "default"
ROOT_CA, ROOT_CA_KEY = "kube-root-ca.crt", "ca.crt"
DESCRIPTION = "kubernetes.io/description"
DESCRIBED = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def account(world: World, key: str) -> Plan:
    """The default ServiceAccount of namespace `key`."""
    if not _lives(world.namespaces.get(key)) or f"{key}/{DEFAULT_ACCOUNT}" in world.service_accounts:
        return NOTHING
    return Plan((Create(ServiceAccount(metadata=ObjectMeta(name=DEFAULT_ACCOUNT, namespace=key))),))


def root_ca(world: World, key: str, bundle: str) -> Plan:
    """The certificates (PEM) that clients in namespace `key` verify the apiserver with."""
    if not _lives(world.namespaces.get(key)):
        return NOTHING
    meta = ObjectMeta(name=ROOT_CA, namespace=key, annotations={DESCRIPTION: DESCRIBED})
    wanted = ConfigMap(metadata=meta, data={ROOT_CA_KEY: bundle})
    found = world.config_maps.get(wanted.key)
    if found is None:
        return Plan((Create(wanted),))
    if found.data == wanted.data:
        return NOTHING
    gone = {name: None for name in found.data or {} if name != ROOT_CA_KEY}
    patch = {"data": {**gone, **msgspec.to_builtins(wanted.data)}}
    return Plan((Patch(ConfigMap, key, ROOT_CA, patch, kind="merge"),))


def _lives(namespace: Namespace | None) -> bool:
    return namespace is not None and namespace.metadata.deletion_timestamp is None
