"""The registry of kinds: which kinds there are, and where each lives under the API root.

A kind is a row. Routes, discovery, clients and controllers read rows; adding one touches none of them.
"""

import msgspec

PARTS = frozenset({"status", "ephemeralcontainers", "resize", "finalize"})
"""Subresources that are a part of their object: read and written as the whole object, of which all else stays."""

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(msgspec.Struct, frozen=True, eq=False):
    """One served kind: each is there once, so that it is known, and found in tables, by its identity.

    `group` is "" for core/v1. `plural` is the resource name in paths. `subresources` beside the object itself.
    `categories` and `short_names` are what kubectl expands; `verbs` what a collection and its objects can do.
    `connects` are subresources that lead on to a node's agent.
    `stored_in` is the group whose objects of the same plural these are, in another form (None: its own objects).
    `warning` goes out with every answer about the kind: it is deprecated.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    stored_in: str | None = None
    warning: str = ""
    connects: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """As objects carry it: `v1`, `discovery.k8s.io/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Path of the group version: `/api/v1`, `/apis/discovery.k8s.io/v1`."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of the collection (no name), an object, or its subresource.

        A namespaced kind without a namespace gives the collection across all namespaces.
        """
        parts = [self.root]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


NAMESPACE = Kind(
    *("", "v1", "Namespace", "namespaces", False, "namespace", ("ns",)),
    subresources=("status", "finalize"),
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
)
NODE = Kind("", "v1", "Node", "nodes", False, "node", ("no",), subresources=("status",), connects=("proxy",))
POD = Kind(
    *("", "v1", "Pod", "pods", True, "pod", ("po",), ("all",)),
    subresources=("status", "binding", "ephemeralcontainers", "eviction", "resize"),
    connects=("attach", "exec", "log", "portforward", "proxy"),
)
SERVICE = Kind(
    *("", "v1", "Service", "services", True, "service", ("svc",), ("all",), ("status",)), connects=("proxy",)
)
ENDPOINTS = Kind(
    *("", "v1", "Endpoints", "endpoints", True, "endpoints", ("ep",)),
    warning="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", True, "configmap", ("cm",))
EVENT = Kind("", "v1", "Event", "events", True, "event", ("ev",))
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, "endpointslice")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", True, "lease")
_REVIEW = ("create",)
BINDING = Kind("", "v1", "Binding", "bindings", True, "binding", verbs=_REVIEW)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    *("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False),
    singular="selfsubjectaccessreview",
    verbs=_REVIEW,
)
SELF_SUBJECT_RULES_REVIEW = Kind(
    *("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False),
    singular="selfsubjectrulesreview",
    verbs=_REVIEW,
)
SELF_SUBJECT_REVIEW = Kind(
    *("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", False),
    singular="selfsubjectreview",
    verbs=_REVIEW,
)
_AUTHORIZATION, _AUTHENTICATION = ("authorization.k8s.io", "v1"), ("authentication.k8s.io", "v1")
SUBJECT_ACCESS_REVIEW = Kind(
    *(*_AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", False, "subjectaccessreview"), verbs=_REVIEW
)
LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    *(*_AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", True, "localsubjectaccessreview"),
    verbs=_REVIEW,
)
TOKEN_REVIEW = Kind(*(*_AUTHENTICATION, "TokenReview", "tokenreviews", False, "tokenreview"), verbs=_REVIEW)
SECRET = Kind("", "v1", "Secret", "secrets", True, "secret")
SERVICE_ACCOUNT = Kind(
    *("", "v1", "ServiceAccount", "serviceaccounts", True, "serviceaccount", ("sa",)), subresources=("token",)
)
_NETWORKING = ("networking.k8s.io", "v1")
NETWORK_POLICY = Kind(*_NETWORKING, "NetworkPolicy", "networkpolicies", True, "networkpolicy", ("netpol",))
INGRESS = Kind(*_NETWORKING, "Ingress", "ingresses", True, "ingress", ("ing",), subresources=("status",))
INGRESS_CLASS = Kind(*_NETWORKING, "IngressClass", "ingressclasses", False, "ingressclass")
SERVICE_CIDR = Kind(*_NETWORKING, "ServiceCIDR", "servicecidrs", False, "servicecidr", subresources=("status",))
IP_ADDRESS = Kind(*_NETWORKING, "IPAddress", "ipaddresses", False, "ipaddress", ("ip",))
_APPS, _SCALED = ("apps", "v1"), ("status", "scale")
DEPLOYMENT = Kind(*_APPS, "Deployment", "deployments", True, "deployment", ("deploy",), ("all",), _SCALED)
REPLICA_SET = Kind(*_APPS, "ReplicaSet", "replicasets", True, "replicaset", ("rs",), ("all",), _SCALED)
STATEFUL_SET = Kind(*_APPS, "StatefulSet", "statefulsets", True, "statefulset", ("sts",), ("all",), _SCALED)
DAEMON_SET = Kind(*_APPS, "DaemonSet", "daemonsets", True, "daemonset", ("ds",), ("all",), ("status",))
CONTROLLER_REVISION = Kind(*_APPS, "ControllerRevision", "controllerrevisions", True, "controllerrevision")
JOB = Kind("batch", "v1", "Job", "jobs", True, "job", (), ("all",), ("status",))
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", True, "cronjob", ("cj",), ("all",), ("status",))
_RBAC = ("rbac.authorization.k8s.io", "v1")
ROLE = Kind(*_RBAC, "Role", "roles", True, "role")
ROLE_BINDING = Kind(*_RBAC, "RoleBinding", "rolebindings", True, "rolebinding")
CLUSTER_ROLE = Kind(*_RBAC, "ClusterRole", "clusterroles", False, "clusterrole")
CLUSTER_ROLE_BINDING = Kind(*_RBAC, "ClusterRoleBinding", "clusterrolebindings", False, "clusterrolebinding")
PERSISTENT_VOLUME = Kind(
    *("", "v1", "PersistentVolume", "persistentvolumes", False, "persistentvolume", ("pv",)), subresources=("status",)
)
CLAIM = Kind(
    *("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, "persistentvolumeclaim", ("pvc",)),
    subresources=("status",),
)
POD_TEMPLATE = Kind("", "v1", "PodTemplate", "podtemplates", True, "podtemplate")
REPLICATION_CONTROLLER = Kind(
    *("", "v1", "ReplicationController", "replicationcontrollers", True, "replicationcontroller", ("rc",), ("all",)),
    subresources=_SCALED,
)
RESOURCE_QUOTA = Kind(
    *("", "v1", "ResourceQuota", "resourcequotas", True, "resourcequota", ("quota",)), subresources=("status",)
)
LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", True, "limitrange", ("limits",))
_STORAGE = ("storage.k8s.io", "v1")
STORAGE_CLASS = Kind(*_STORAGE, "StorageClass", "storageclasses", False, "storageclass", ("sc",))
CSI_NODE = Kind(*_STORAGE, "CSINode", "csinodes", False, "csinode")
CSI_DRIVER = Kind(*_STORAGE, "CSIDriver", "csidrivers", False, "csidriver")
CSI_CAPACITY = Kind(*_STORAGE, "CSIStorageCapacity", "csistoragecapacities", True, "csistoragecapacity")
VOLUME_ATTACHMENT = Kind(
    *(*_STORAGE, "VolumeAttachment", "volumeattachments", False, "volumeattachment"), subresources=("status",)
)
VOLUME_ATTRIBUTES = Kind(
    *_STORAGE, "VolumeAttributesClass", "volumeattributesclasses", False, "volumeattributesclass", ("vac",)
)
DISRUPTION_BUDGET = Kind(
    *("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, "poddisruptionbudget", ("pdb",)),
    subresources=("status",),
)
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False, "priorityclass", ("pc",))
_DEVICES = ("resource.k8s.io", "v1")
RESOURCE_CLAIM = Kind(*(*_DEVICES, "ResourceClaim", "resourceclaims", True, "resourceclaim"), subresources=("status",))
CLAIM_TEMPLATE = Kind(*_DEVICES, "ResourceClaimTemplate", "resourceclaimtemplates", True, "resourceclaimtemplate")
RESOURCE_SLICE = Kind(*_DEVICES, "ResourceSlice", "resourceslices", False, "resourceslice")
DEVICE_CLASS = Kind(*_DEVICES, "DeviceClass", "deviceclasses", False, "deviceclass")
POD_AUTOSCALER = Kind(
    *("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True, "horizontalpodautoscaler"),
    *(("hpa",), ("all",), ("status",)),
)
_SEEN = ("get", "list", "watch")
"""Of kinds that programs watch though there are none of them here: nothing acts on them, so none can be made."""
ADMISSION_POLICY = Kind(
    *("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False),
    *("validatingadmissionpolicy", (), ("api-extensions",)),
    verbs=_SEEN,
)
CERTIFICATE_REQUEST = Kind(
    *("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", False),
    *("certificatesigningrequest", ("csr",)),
    verbs=_SEEN,
)
RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", False, "runtimeclass", verbs=_SEEN)
NEW_EVENT = Kind("events.k8s.io", "v1", "Event", "events", True, "event", ("ev",), stored_in="")

KINDS: tuple[Kind, ...] = (
    NEW_EVENT,
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    ENDPOINTS,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    EVENT,
    ENDPOINT_SLICE,
    LEASE,
    NETWORK_POLICY,
    INGRESS,
    INGRESS_CLASS,
    SERVICE_CIDR,
    IP_ADDRESS,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    DAEMON_SET,
    CONTROLLER_REVISION,
    JOB,
    CRON_JOB,
    ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    PERSISTENT_VOLUME,
    CLAIM,
    POD_TEMPLATE,
    REPLICATION_CONTROLLER,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    STORAGE_CLASS,
    CSI_NODE,
    CSI_DRIVER,
    CSI_CAPACITY,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES,
    DISRUPTION_BUDGET,
    PRIORITY_CLASS,
    RESOURCE_CLAIM,
    CLAIM_TEMPLATE,
    RESOURCE_SLICE,
    DEVICE_CLASS,
    POD_AUTOSCALER,
    ADMISSION_POLICY,
    CERTIFICATE_REQUEST,
    RUNTIME_CLASS,
    BINDING,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SELF_SUBJECT_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    TOKEN_REVIEW,
)
