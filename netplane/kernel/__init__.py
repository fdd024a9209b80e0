"""The only door to the kernel. Knows no Kubernetes."""
