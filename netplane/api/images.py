"""References to images, as far as defaults depend on them (pure). Source: the grammar of distribution's references."""

import re

_DOMAIN_PART = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?P<name>{_DOMAIN}/{_PART}(?:/{_PART})*)(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII
)
_SIZES = {"sha256": 64, "sha384": 96, "sha512": 128}
_MOST_NAME = 255


def pull_policy(image: str) -> str:
    """Always for :latest, which is also what no tag and no digest mean; IfNotPresent for what is no reference."""
    found = _REFERENCE.fullmatch(_normalized(image))
    if found is None or re.fullmatch("[a-f0-9]{64}", image) or len(found["name"].partition("/")[2]) > _MOST_NAME:
        return "IfNotPresent"
    if (digest := found["digest"]) is not None:
        algorithm, _, digits = digest.partition(":")
        if _SIZES.get(algorithm) != len(digits) or digits != digits.lower():
            return "IfNotPresent"
    tag = found["tag"] or ("" if digest else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def _normalized(image: str) -> str:
    """With its registry, which is docker.io where none is named."""
    first, slash, rest = image.partition("/")
    named = slash and (re.search("[.:]", first) or first == "localhost" or first != first.lower())
    domain, path = (first, rest) if named else ("docker.io", image)
    domain = "docker.io" if domain == "index.docker.io" else domain
    return f"{domain}/library/{path}" if domain == "docker.io" and "/" not in path else f"{domain}/{path}"
