"""Paths in a pod's spec: those that stay below where they start. Source: core/v1 validation of Kubernetes 1.36."""

from netplane.api.fields import FieldError, invalid, required


def descending(text: str, path: str) -> list[FieldError]:
    """A relative path that stays below where it starts."""
    errors = [invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return errors + no_backsteps(text, path)


def no_backsteps(text: str, path: str) -> list[FieldError]:
    """A path that never goes up."""
    return [invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def local(text: str, path: str) -> list[FieldError]:
    """A path below a volume that does not look like the kubelet's own (..data)."""
    if not text:
        return [required(path)]
    errors = descending(text, path)
    if text.startswith("..") and not text.startswith("../"):
        errors.append(invalid(path, text, "must not start with '..'"))
    return errors
