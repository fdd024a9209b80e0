"""Manifests that tests of the proxy's tools use: two nodes, a service in every state an endpoint can be in."""

from pathlib import Path

MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {topology.kubernetes.io/zone: b}}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/24]}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec:
    type: NodePort
    clusterIP: 10.96.0.10
    ports: [{name: http, port: 80, nodePort: 30080}]
- apiVersion: v1
  kind: Service
  metadata: {name: near, namespace: shop}
  spec:
    type: NodePort
    externalTrafficPolicy: Local
    internalTrafficPolicy: Local
    clusterIP: 10.96.0.11
    ports: [{name: http, port: 80, nodePort: 30081}]
- apiVersion: v1
  kind: Service
  metadata: {name: sticky, namespace: shop}
  spec:
    clusterIP: 10.96.0.12
    sessionAffinity: ClientIP
    ports: [{name: http, port: 80}]
- apiVersion: v1
  kind: Service
  metadata: {name: none, namespace: shop}
  spec: {clusterIP: 10.96.0.13, ports: [{name: http, port: 80}]}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: other}}
"""
_SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %(name)s-1, namespace: shop, labels: {kubernetes.io/service-name: %(name)s}}
addressType: IPv4
endpoints:
- {addresses: [10.244.1.7], nodeName: n1, conditions: {ready: true}, targetRef: {kind: Pod, name: %(name)s-a}}
- {addresses: [10.244.2.9], nodeName: n2, conditions: {ready: true}}
- {addresses: [10.244.2.10], nodeName: n2, conditions: {ready: false}}
- {addresses: [10.244.2.11], nodeName: n2, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.244.2.12], nodeName: n2, conditions: {ready: false, serving: false, terminating: true}}
ports: [{name: http, port: 8080}]
"""


def write(folder: Path) -> Path:
    """All of it as one file."""
    file = folder / "objects.yaml"
    file.write_text(MANIFESTS + "".join(_SLICE % {"name": name} for name in ("web", "near", "sticky")))
    return file


FLAGS = ("--node", "n1", "--cluster-cidr", "10.244.0.0/16")
