"""Objects as messages print them: in Kubernetes' own order of fields, under its internal names, zeros and all (pure).

A refused change of a pod is told as the difference of two such prints, and parts that are no plain values are printed
so too. One line of `_TABLE` for each type; a field is its name, then `(its JSON name)` where that cannot be derived,
then what it holds:

    $ # !    a string, a number, a yes or no      ?      anything, null when it is absent
    ~        an amount                            ?T     the type T, null when it is absent (?= the field's own name)
    :T       the type T                           *T     a list of T, null when it is absent
    +T       all fields of T, here
"""

import difflib
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

Json = dict[str, Any]

_ZERO: dict[str, Any] = {"$": "", "#": 0, "!": False, "~": "0", "?": None}
_TOKEN = re.compile(r"(\w+)(?:\((\w+)\))?([$#!~?:*])(=|\w*)")
_OF_HOST = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


class _Field(NamedTuple):
    """One field. `of` names the type of what it holds, "" for plain values."""

    name: str
    key: str
    form: str
    of: str


@cache
def _fields(kind: str) -> tuple[_Field, ...]:
    return tuple(_parsed(_rows()[kind]))


@cache
def _rows() -> dict[str, str]:
    rows = (line.partition(" = ") for line in re.sub(r"\n +", " ", _TABLE.strip()).splitlines())
    return {name: fields for name, _, fields in rows}


def _parsed(row: str) -> Iterator[_Field]:
    for token in row.split():
        if token.startswith("+"):
            yield from _fields(token[1:])
            continue
        found = _TOKEN.fullmatch(token)
        assert found is not None, token
        name, key, form, of = found.groups()
        yield _Field(name, key or _key(name), form, name if of == "=" else of)


def _key(name: str) -> str:
    """FSType is fsType, ServiceAccountName is serviceAccountName, IP is ip."""
    run = re.match(r"[A-Z]+(?=[A-Z][a-z]|$)|[A-Z]", name)
    assert run is not None
    return run[0].lower() + name[len(run[0]) :]


def internal(kind: str, given: Json | None) -> Json | None:
    """An object of a type as it is printed; None stays."""
    if given is None:
        return None
    if kind == "PodSpec":
        given = _with_host(given)
    return {one.name: _value(one, given.get(one.key)) for one in _fields(kind)}


def _value(field: _Field, value: Any) -> Any:
    if field.form == "*":
        return [internal(field.of, one) for one in value] if value else None
    if field.of:
        return internal(field.of, {} if value is None and field.form == ":" else value)
    if value is None or (value in ([], {}) and field.form == "?"):
        return _ZERO[field.form]
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def _with_host(spec: Json) -> Json:
    """What a pod shares with its node is part of its security context."""
    shared = {name: spec[name] for name in _OF_HOST if spec.get(name) is not None}
    return {**spec, "securityContext": {**(spec.get("securityContext") or {}), **shared}}


def difference(kind: str, old: Json, new: Json) -> str:
    """What changed, as a unified difference of the two prints; lines end with newlines."""
    before, after = (_lines(internal(kind, one)) for one in (old, new))
    if before == after:
        return ""
    return "".join(list(difflib.unified_diff(before, after))[2:])  # without the names of the files


def _lines(value: Any) -> list[str]:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return [f"{line}\n" for line in text.split("\n")]


_TABLE = """
PodSpec = Volumes*Volume InitContainers*Container Containers*Container EphemeralContainers*EphemeralContainer
    RestartPolicy$ TerminationGracePeriodSeconds? ActiveDeadlineSeconds? DNSPolicy$ NodeSelector? ServiceAccountName$
    AutomountServiceAccountToken? NodeName$ SecurityContext?PodSecurityContext ImagePullSecrets*LocalObjectReference
    Hostname$ Subdomain$ SetHostnameAsFQDN? Affinity?= SchedulerName$ Tolerations*Toleration HostAliases*HostAlias
    PriorityClassName$ Priority? PreemptionPolicy? DNSConfig?PodDNSConfig ReadinessGates*PodReadinessGate
    RuntimeClassName? Overhead? EnableServiceLinks? TopologySpreadConstraints*TopologySpreadConstraint OS?PodOS
    SchedulingGates*PodSchedulingGate ResourceClaims*PodResourceClaim Resources?ResourceRequirements HostnameOverride?
    SchedulingGroup?PodSchedulingGroup
EphemeralContainer = +Container TargetContainerName$
VolumeNodeAffinity = Required?NodeSelector
PersistentVolumeSource = GCEPersistentDisk?GCEPersistentDiskVolumeSource
    AWSElasticBlockStore?AWSElasticBlockStoreVolumeSource HostPath?HostPathVolumeSource Glusterfs? NFS?NFSVolumeSource
    RBD? Quobyte?QuobyteVolumeSource ISCSI? FlexVolume? Cinder? CephFS(cephfs)? FC?FCVolumeSource
    Flocker?FlockerVolumeSource AzureFile? VsphereVolume?VsphereVirtualDiskVolumeSource
    AzureDisk?AzureDiskVolumeSource PhotonPersistentDisk?PhotonPersistentDiskVolumeSource
    PortworxVolume?PortworxVolumeSource ScaleIO? Local?LocalVolumeSource StorageOS(storageos)?
    CSI?CSIPersistentVolumeSource
LocalVolumeSource = Path$ FSType?
CSIPersistentVolumeSource = Driver$ VolumeHandle$ ReadOnly! FSType$ VolumeAttributes?
    ControllerPublishSecretRef?SecretReference NodeStageSecretRef?SecretReference NodePublishSecretRef?SecretReference
    ControllerExpandSecretRef?SecretReference NodeExpandSecretRef?SecretReference
SecretReference = Name$ Namespace$
PodIP = IP$
HostIP = IP$
Taint = Key$ Value$ Effect$ TimeAdded?
NodeAddress = Type$ Address$
Volume = Name$ +VolumeSource
Container = Name$ Image$ Command? Args? WorkingDir$ Ports*ContainerPort EnvFrom*EnvFromSource Env*EnvVar
    Resources:ResourceRequirements ResizePolicy*ContainerResizePolicy RestartPolicy?
    RestartPolicyRules*ContainerRestartRule VolumeMounts*VolumeMount VolumeDevices*VolumeDevice LivenessProbe?Probe
    ReadinessProbe?Probe StartupProbe?Probe Lifecycle?= TerminationMessagePath$ TerminationMessagePolicy$
    ImagePullPolicy$ SecurityContext?= Stdin! StdinOnce! TTY!
PodSecurityContext = HostNetwork! HostPID! HostIPC! ShareProcessNamespace? HostUsers? SELinuxOptions?=
    WindowsOptions?WindowsSecurityContextOptions RunAsUser? RunAsGroup? RunAsNonRoot? SupplementalGroups?
    SupplementalGroupsPolicy? FSGroup? FSGroupChangePolicy? Sysctls*Sysctl SeccompProfile?= AppArmorProfile?=
    SELinuxChangePolicy?
LocalObjectReference = Name$
Affinity = NodeAffinity?= PodAffinity?= PodAntiAffinity?=
Toleration = Key$ Operator$ Value$ Effect$ TolerationSeconds?
HostAlias = IP$ Hostnames?
PodDNSConfig = Nameservers? Searches? Options*PodDNSConfigOption
PodReadinessGate = ConditionType$
TopologySpreadConstraint = MaxSkew# TopologyKey$ WhenUnsatisfiable$ LabelSelector? MinDomains? NodeAffinityPolicy?
    NodeTaintsPolicy? MatchLabelKeys?
PodOS = Name$
PodSchedulingGate = Name$
PodResourceClaim = Name$ ResourceClaimName? ResourceClaimTemplateName?
ResourceRequirements = Limits? Requests? Claims*ResourceClaim
PodSchedulingGroup = PodGroupName?
VolumeSource = HostPath?HostPathVolumeSource EmptyDir?EmptyDirVolumeSource
    GCEPersistentDisk?GCEPersistentDiskVolumeSource AWSElasticBlockStore?AWSElasticBlockStoreVolumeSource
    GitRepo?GitRepoVolumeSource Secret?SecretVolumeSource NFS?NFSVolumeSource ISCSI?ISCSIVolumeSource
    Glusterfs?GlusterfsVolumeSource PersistentVolumeClaim?PersistentVolumeClaimVolumeSource RBD?RBDVolumeSource
    Quobyte?QuobyteVolumeSource FlexVolume?FlexVolumeSource Cinder?CinderVolumeSource
    CephFS(cephfs)?CephFSVolumeSource Flocker?FlockerVolumeSource DownwardAPI?DownwardAPIVolumeSource
    FC?FCVolumeSource AzureFile?AzureFileVolumeSource ConfigMap?ConfigMapVolumeSource
    VsphereVolume?VsphereVirtualDiskVolumeSource AzureDisk?AzureDiskVolumeSource
    PhotonPersistentDisk?PhotonPersistentDiskVolumeSource Projected?ProjectedVolumeSource
    PortworxVolume?PortworxVolumeSource ScaleIO?ScaleIOVolumeSource StorageOS(storageos)?StorageOSVolumeSource
    CSI?CSIVolumeSource Ephemeral?EphemeralVolumeSource Image?ImageVolumeSource
ContainerPort = Name$ HostPort# ContainerPort# Protocol$ HostIP$
EnvFromSource = Prefix$ ConfigMapRef?ConfigMapEnvSource SecretRef?SecretEnvSource
EnvVar = Name$ Value$ ValueFrom?EnvVarSource
ContainerResizePolicy = ResourceName$ RestartPolicy$
ContainerRestartRule = Action$ ExitCodes?ContainerRestartRuleOnExitCodes
VolumeMount = Name$ ReadOnly! RecursiveReadOnly? MountPath$ SubPath$ MountPropagation? SubPathExpr$
VolumeDevice = Name$ DevicePath$
Probe = +ProbeHandler InitialDelaySeconds# TimeoutSeconds# PeriodSeconds# SuccessThreshold# FailureThreshold#
    TerminationGracePeriodSeconds?
Lifecycle = PostStart?LifecycleHandler PreStop?LifecycleHandler StopSignal?
SecurityContext = Capabilities?= Privileged? SELinuxOptions?= WindowsOptions?WindowsSecurityContextOptions RunAsUser?
    RunAsGroup? RunAsNonRoot? ReadOnlyRootFilesystem? AllowPrivilegeEscalation? ProcMount? SeccompProfile?=
    AppArmorProfile?=
SELinuxOptions = User$ Role$ Type$ Level$
WindowsSecurityContextOptions = GMSACredentialSpecName? GMSACredentialSpec? RunAsUserName? HostProcess?
Sysctl = Name$ Value$
SeccompProfile = Type$ LocalhostProfile?
AppArmorProfile = Type$ LocalhostProfile?
NodeAffinity = RequiredDuringSchedulingIgnoredDuringExecution?NodeSelector
    PreferredDuringSchedulingIgnoredDuringExecution*PreferredSchedulingTerm
PodAffinity = RequiredDuringSchedulingIgnoredDuringExecution*PodAffinityTerm
    PreferredDuringSchedulingIgnoredDuringExecution*WeightedPodAffinityTerm
PodAntiAffinity = RequiredDuringSchedulingIgnoredDuringExecution*PodAffinityTerm
    PreferredDuringSchedulingIgnoredDuringExecution*WeightedPodAffinityTerm
PodDNSConfigOption = Name$ Value?
ResourceClaim = Name$ Request$
HostPathVolumeSource = Path$ Type?
EmptyDirVolumeSource = Medium$ SizeLimit?
GCEPersistentDiskVolumeSource = PDName$ FSType$ Partition# ReadOnly!
AWSElasticBlockStoreVolumeSource = VolumeID$ FSType$ Partition# ReadOnly!
GitRepoVolumeSource = Repository$ Revision$ Directory$
SecretVolumeSource = SecretName$ Items*KeyToPath DefaultMode? Optional?
NFSVolumeSource = Server$ Path$ ReadOnly!
ISCSIVolumeSource = TargetPortal$ IQN$ Lun# ISCSIInterface$ FSType$ ReadOnly! Portals?
    DiscoveryCHAPAuth(chapAuthDiscovery)! SessionCHAPAuth(chapAuthSession)! SecretRef?LocalObjectReference
    InitiatorName?
GlusterfsVolumeSource = EndpointsName(endpoints)$ Path$ ReadOnly!
PersistentVolumeClaimVolumeSource = ClaimName$ ReadOnly!
RBDVolumeSource = CephMonitors(monitors)? RBDImage(image)$ FSType$ RBDPool(pool)$ RadosUser(user)$ Keyring$
    SecretRef?LocalObjectReference ReadOnly!
QuobyteVolumeSource = Registry$ Volume$ ReadOnly! User$ Group$ Tenant$
FlexVolumeSource = Driver$ FSType$ SecretRef?LocalObjectReference ReadOnly! Options?
CinderVolumeSource = VolumeID$ FSType$ ReadOnly! SecretRef?LocalObjectReference
CephFSVolumeSource = Monitors? Path$ User$ SecretFile$ SecretRef?LocalObjectReference ReadOnly!
FlockerVolumeSource = DatasetName$ DatasetUUID$
DownwardAPIVolumeSource = Items*DownwardAPIVolumeFile DefaultMode?
FCVolumeSource = TargetWWNs? Lun? FSType$ ReadOnly! WWIDs(wwids)?
AzureFileVolumeSource = SecretName$ ShareName$ ReadOnly!
ConfigMapVolumeSource = +LocalObjectReference Items*KeyToPath DefaultMode? Optional?
VsphereVirtualDiskVolumeSource = VolumePath$ FSType$ StoragePolicyName$ StoragePolicyID$
AzureDiskVolumeSource = DiskName$ DataDiskURI(diskURI)$ CachingMode? FSType? ReadOnly? Kind?
PhotonPersistentDiskVolumeSource = PdID$ FSType$
ProjectedVolumeSource = Sources*VolumeProjection DefaultMode?
PortworxVolumeSource = VolumeID$ FSType$ ReadOnly!
ScaleIOVolumeSource = Gateway$ System$ SecretRef?LocalObjectReference SSLEnabled! ProtectionDomain$ StoragePool$
    StorageMode$ VolumeName$ FSType$ ReadOnly!
StorageOSVolumeSource = VolumeName$ VolumeNamespace$ FSType$ ReadOnly! SecretRef?LocalObjectReference
CSIVolumeSource = Driver$ ReadOnly? FSType? VolumeAttributes? NodePublishSecretRef?LocalObjectReference
EphemeralVolumeSource = VolumeClaimTemplate?PersistentVolumeClaimTemplate
ImageVolumeSource = Reference$ PullPolicy$
ConfigMapEnvSource = +LocalObjectReference Optional?
SecretEnvSource = +LocalObjectReference Optional?
EnvVarSource = FieldRef?ObjectFieldSelector ResourceFieldRef?ResourceFieldSelector
    ConfigMapKeyRef?ConfigMapKeySelector SecretKeyRef?SecretKeySelector FileKeyRef?FileKeySelector
ContainerRestartRuleOnExitCodes = Operator$ Values?
ProbeHandler = Exec?ExecAction HTTPGet?HTTPGetAction TCPSocket?TCPSocketAction GRPC?GRPCAction
LifecycleHandler = Exec?ExecAction HTTPGet?HTTPGetAction TCPSocket?TCPSocketAction Sleep?SleepAction
Capabilities = Add? Drop?
NodeSelector = NodeSelectorTerms*NodeSelectorTerm
PreferredSchedulingTerm = Weight# Preference:NodeSelectorTerm
PodAffinityTerm = LabelSelector? Namespaces? TopologyKey$ NamespaceSelector? MatchLabelKeys? MismatchLabelKeys?
WeightedPodAffinityTerm = Weight# PodAffinityTerm:=
KeyToPath = Key$ Path$ Mode?
DownwardAPIVolumeFile = Path$ FieldRef?ObjectFieldSelector ResourceFieldRef?ResourceFieldSelector Mode?
VolumeProjection = Secret?SecretProjection DownwardAPI?DownwardAPIProjection ConfigMap?ConfigMapProjection
    ServiceAccountToken?ServiceAccountTokenProjection ClusterTrustBundle?ClusterTrustBundleProjection
    PodCertificate?PodCertificateProjection
PersistentVolumeClaimTemplate = Spec:PersistentVolumeClaimSpec
ObjectFieldSelector = APIVersion$ FieldPath$
ResourceFieldSelector = ContainerName$ Resource$ Divisor~
ConfigMapKeySelector = +LocalObjectReference Key$ Optional?
SecretKeySelector = +LocalObjectReference Key$ Optional?
FileKeySelector = VolumeName$ Path$ Key$ Optional?
ExecAction = Command?
HTTPGetAction = Path$ Port# Host$ Scheme$ HTTPHeaders*HTTPHeader
TCPSocketAction = Port# Host$
GRPCAction = Port# Service?
SleepAction = Seconds#
NodeSelectorTerm = MatchExpressions*NodeSelectorRequirement MatchFields*NodeSelectorRequirement
SecretProjection = +LocalObjectReference Items*KeyToPath Optional?
DownwardAPIProjection = Items*DownwardAPIVolumeFile
ConfigMapProjection = +LocalObjectReference Items*KeyToPath Optional?
ServiceAccountTokenProjection = Audience$ ExpirationSeconds# Path$
ClusterTrustBundleProjection = Name? SignerName? LabelSelector? Optional? Path$
PodCertificateProjection = SignerName$ KeyType$ MaxExpirationSeconds? CredentialBundlePath$ KeyPath$
    CertificateChainPath$ UserAnnotations?
PersistentVolumeClaimSpec = AccessModes? Selector? Resources:VolumeResourceRequirements VolumeName$ StorageClassName?
    VolumeMode? DataSource?TypedLocalObjectReference DataSourceRef?TypedObjectReference VolumeAttributesClassName?
HTTPHeader = Name$ Value$
ObjectReference = Kind$ Namespace$ Name$ UID$ APIVersion$ ResourceVersion$ FieldPath$
EventSource = Component$ Host$
RolloutStrategy = Type$ RollingUpdate?Rollout
Rollout = MaxUnavailable# MaxSurge#
StatefulSetUpdateStrategy = Type$ RollingUpdate?RollingUpdateStatefulSetStrategy
RollingUpdateStatefulSetStrategy = Partition# MaxUnavailable?
PodFailurePolicy = Rules*PodFailurePolicyRule
PodFailurePolicyRule = Action$ OnExitCodes?PodFailurePolicyOnExitCodesRequirement
    OnPodConditions*PodFailurePolicyOnPodConditionsPattern
PodFailurePolicyOnExitCodesRequirement = ContainerName? Operator$ Values?
PodFailurePolicyOnPodConditionsPattern = Type$ Status$
SuccessPolicy = Rules*SuccessPolicyRule
SuccessPolicyRule = SucceededIndexes? SucceededCount?
UncountedTerminatedPods = Succeeded? Failed?
NodeSelectorRequirement = Key$ Operator$ Values?
VolumeResourceRequirements = Limits? Requests?
TypedLocalObjectReference = APIGroup? Kind$ Name$
TypedObjectReference = APIGroup? Kind$ Name$ Namespace?
"""
