"""As much of the Container Runtime Interface (runtime.v1) as a kubelet needs to run a pod: messages and a client.

Messages are built from the table below: `name number[ kind]`, kinds being `string` when none is said, another
message, and `*` for repeated. Numbers are those of the interface's api.proto; what is not named is left out.
"""

from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "runtime.v1"
_MESSAGES = """
VersionRequest: version 1
VersionResponse: version 1, runtime_name 2, runtime_version 3
StatusRequest: verbose 1 bool
StatusResponse: status 1 RuntimeStatus
RuntimeStatus: conditions 1 *RuntimeCondition
RuntimeCondition: type 1, status 2 bool, reason 3, message 4
PodSandboxMetadata: name 1, uid 2, namespace 3, attempt 4 uint32
PortMapping: protocol 1 int32, container_port 2 int32, host_port 3 int32, host_ip 4
LinuxPodSandboxConfig: cgroup_parent 1
PodSandboxConfig: metadata 1 PodSandboxMetadata, hostname 2, log_directory 3, port_mappings 5 *PortMapping, \
    linux 8 LinuxPodSandboxConfig
RunPodSandboxRequest: config 1 PodSandboxConfig
RunPodSandboxResponse: pod_sandbox_id 1
StopPodSandboxRequest: pod_sandbox_id 1
StopPodSandboxResponse:
RemovePodSandboxRequest: pod_sandbox_id 1
RemovePodSandboxResponse:
PodSandboxStatusRequest: pod_sandbox_id 1
PodSandboxStatusResponse: status 1 PodSandboxStatus
PodSandboxStatus: id 1, network 5 PodSandboxNetworkStatus
PodSandboxNetworkStatus: ip 1, additional_ips 2 *PodIP
PodIP: ip 1
ContainerMetadata: name 1, attempt 2 uint32
ImageSpec: image 1
ContainerConfig: metadata 1 ContainerMetadata, image 2 ImageSpec, command 3 *string, log_path 11
CreateContainerRequest: pod_sandbox_id 1, config 2 ContainerConfig, sandbox_config 3 PodSandboxConfig
CreateContainerResponse: container_id 1
StartContainerRequest: container_id 1
StartContainerResponse:
ExecSyncRequest: container_id 1, cmd 2 *string, timeout 3 int64
ExecSyncResponse: stdout 1 bytes, stderr 2 bytes, exit_code 3 int32
"""
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
}


def _field(message: Any, text: str) -> None:
    name, number, kind = [*text.split(), "string"][:3]
    label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    kind = kind.lstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=PACKAGE, syntax="proto3")
    for line in _MESSAGES.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for text in filter(None, (part.strip() for part in fields.split(","))):
            _field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{m.name}"))
            for m in file.message_type}  # fmt: skip


class Cri:
    """A client of a runtime's socket. `cri("RunPodSandbox", config={…})` sends that request and returns its answer.

    Raises grpc.RpcError when the runtime refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._classes = _classes()
        self._channel = grpc.insecure_channel(f"unix://{socket}")

    def __call__(self, method: str, timeout_s: float = 60, **fields: Any) -> Any:
        call = self._channel.unary_unary(
            f"/{PACKAGE}.RuntimeService/{method}",
            request_serializer=self._classes[f"{method}Request"].SerializeToString,
            response_deserializer=self._classes[f"{method}Response"].FromString,
        )
        return call(self._classes[f"{method}Request"](**fields), timeout=timeout_s)

    def close(self) -> None:
        self._channel.close()
