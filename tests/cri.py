"""As much of the Container Runtime Interface (runtime.v1) as a kubelet needs to run a pod: messages and a client.

Messages are built from the table below (see `proto3`). Numbers are those of the interface's api.proto; what is not
named is left out.
"""

from pathlib import Path
from typing import Any

import grpc

from netplane.store.etcd import proto3

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


class Cri:
    """A client of a runtime's socket. `cri("RunPodSandbox", config={…})` sends that request and returns its answer.

    Raises grpc.RpcError when the runtime refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._classes = proto3.classes(PACKAGE, _MESSAGES)
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
