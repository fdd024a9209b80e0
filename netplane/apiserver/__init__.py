"""The Kubernetes-compatible apiserver."""
