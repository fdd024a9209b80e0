"""The roles and bindings that every cluster starts with, for users, nodes, programs and controllers (pure).

Names, rules and labels are Kubernetes' own, so that manifests which bind to them work, and what may be done with them
is the same. `admin`, `edit` and `view` have no rules of their own: they gather those of every role that is labelled for
them (netplane.api.rbac.aggregated), so that users can add to them.
"""

from functools import cache
from typing import Any

from netplane.api import controller_roles, role_table, standard_roles

Json = dict[str, Any]

AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_RBAC = "rbac.authorization.k8s.io"
_SYSTEM, _PUBLIC = "kube-system", "kube-public"
_AGGREGATE, _CONTROLLER = "system:aggregate-to-", "system:controller:"

_OWN = """
netplane:agent
  READ | core | nodes pods namespaces
  patch update | core | nodes/status
  READ | networking.k8s.io | networkpolicies
  EVENTS
"""

# Who has which ClusterRole: Kind/name, the account of a namespace as Account/namespace/name.
_BINDINGS = {
    "cluster-admin": "Group/system:masters",
    "system:basic-user": "Group/system:authenticated",
    "system:discovery": "Group/system:authenticated",
    "system:kube-controller-manager": "User/system:kube-controller-manager",
    "system:kube-dns": "Account/kube-system/kube-dns",
    "system:kube-scheduler": "User/system:kube-scheduler",
    "system:monitoring": "Group/system:monitoring",
    "system:node": "",  # what nodes may do is the node authorizer's to say
    "system:node-proxier": "User/system:kube-proxy",
    "system:public-info-viewer": "Group/system:authenticated Group/system:unauthenticated",
    "system:service-account-issuer-discovery": "Group/system:serviceaccounts",
    "system:volume-scheduler": "User/system:kube-scheduler",
    "netplane:agent": "Group/netplane:agents",
}

# The same of Roles: namespace, name of the binding, role, subjects.
_LOCAL = (
    (_PUBLIC, "system:controller:bootstrap-signer", "", "Account/kube-system/bootstrap-signer"),
    (_SYSTEM, "system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader",
     "User/system:kube-controller-manager User/system:kube-scheduler"),
    (_SYSTEM, "system::leader-locking-kube-controller-manager", "",
     "User/system:kube-controller-manager Account/kube-system/kube-controller-manager "
     "Account/kube-system/leader-election-controller"),
    (_SYSTEM, "system::leader-locking-kube-scheduler", "",
     "User/system:kube-scheduler Account/kube-system/kube-scheduler"),
    (_SYSTEM, "system:controller:bootstrap-signer", "", "Account/kube-system/bootstrap-signer"),
    (_SYSTEM, "system:controller:cloud-provider", "", "Account/kube-system/cloud-provider"),
    (_SYSTEM, "system:controller:token-cleaner", "", "Account/kube-system/token-cleaner"),
)  # fmt: skip

# Who gathers whose rules, and who is gathered itself by the next.
_GATHER = {"view": "edit", "edit": "admin", "admin": ""}


@cache
def rules() -> dict[str, list[Json]]:
    """The rules of each ClusterRole that has some of its own, by name. Shared: do not change them."""
    return {**role_table.read(standard_roles.CLUSTER_ROLES), **role_table.read(_OWN), **_controllers()}


@cache
def _controllers() -> dict[str, list[Json]]:
    """The same of the controllers' ClusterRoles alone."""
    return {f"{_CONTROLLER}{name}": found for name, found in role_table.read(controller_roles.ROLES).items()}


def cluster_roles() -> list[Json]:
    """The ClusterRoles, as they are created."""
    plain = [{"metadata": _metadata(name), "rules": found} for name, found in rules().items()]
    return plain + [_gathering(name, above) for name, above in _GATHER.items()]


def _gathering(name: str, above: str) -> Json:
    metadata = _metadata(name)
    if above:
        metadata["labels"] |= _label(above)
    return {"metadata": metadata, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": _label(name)}]}}


def cluster_role_bindings() -> list[Json]:
    """The ClusterRoleBindings, as they are created."""
    controllers = {name: f"Account/{_SYSTEM}/{name.removeprefix(_CONTROLLER)}" for name in _controllers()}
    whom = {**_BINDINGS, **controllers}
    return [_binding(_metadata(name), "ClusterRole", name, subjects) for name, subjects in whom.items()]


def roles() -> list[Json]:
    """The Roles, as they are created in kube-system and kube-public."""
    return [
        {"metadata": _metadata(name, namespace), "rules": found}
        for place, found in role_table.read(standard_roles.ROLES).items()
        for namespace, _, name in [place.partition("/")]
    ]


def role_bindings() -> list[Json]:
    """The RoleBindings, as they are created in kube-system and kube-public."""
    return [
        _binding(_metadata(name, namespace), "Role", role or name, subjects)
        for namespace, name, role, subjects in _LOCAL
    ]


def _metadata(name: str, namespace: str = "") -> Json:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    if name.startswith(_AGGREGATE):
        labels |= _label(name.removeprefix(_AGGREGATE))
    where = {"namespace": namespace} if namespace else {}
    return {"name": name, **where, "labels": labels, "annotations": {AUTO_UPDATE: "true"}}


def _label(name: str) -> dict[str, str]:
    return {f"{_RBAC}/aggregate-to-{name}": "true"}


def _binding(metadata: Json, kind: str, role: str, subjects: str) -> Json:
    ref = {"apiGroup": _RBAC, "kind": kind, "name": role}
    whom = {"subjects": [_subject(one) for one in subjects.split()]} if subjects else {}
    return {"metadata": metadata, "roleRef": ref, **whom}


def _subject(text: str) -> Json:
    kind, _, name = text.partition("/")
    if kind != "Account":
        return {"kind": kind, "apiGroup": _RBAC, "name": name}
    namespace, _, account = name.partition("/")
    return {"kind": "ServiceAccount", "name": account, "namespace": namespace}
