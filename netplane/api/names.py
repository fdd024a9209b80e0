"""Which strings Kubernetes accepts as names, labels and ports, and what it says of the others.

Every check returns the messages of all that is wrong, none when nothing is. Source: RFC 1035, RFC 1123, RFC 6335 and
k8s.io/apimachinery/pkg/util/validation (release 1.36), whose wording clients show to their users.
"""

import re
from functools import lru_cache

_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_ENV_NAME_BAD = re.compile(r"[^ -<>-~]")

_DNS_LABEL_RE = re.compile(_DNS_LABEL)
SHORT_LABEL = re.compile("[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN_RE = re.compile(_SUBDOMAIN)
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_WILDCARD_RE = re.compile(_WILDCARD)
_QUALIFIED_RE = re.compile(_QUALIFIED)
_LABEL_VALUE_RE = re.compile(_LABEL_VALUE)
_CONFIG_KEY_RE = re.compile(_CONFIG_KEY)
_PORT_NAME_RE = re.compile("[-a-z0-9]+")
_UNDERSCORED_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORED_RE = re.compile(rf"{_UNDERSCORED_LABEL}(\.{_UNDERSCORED_LABEL})*")
_HEADER = "[-A-Za-z0-9]+"
_HEADER_RE = re.compile(_HEADER)
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_HTTP_PATH_RE = re.compile(_HTTP_PATH)

LABEL_BYTES = 63
SUBDOMAIN_BYTES = 253

_ALNUM_ENDS = "must start and end with an alphanumeric character"


def _length(value: str, limit: int, unit: str = "characters") -> list[str]:
    """Both words mean bytes: what checks the keys and values of labels says so."""
    return [f"must be no more than {limit} {unit}"] if len(value.encode()) > limit else []


def _pattern(message: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


_QUALIFIED_WANTED = _pattern(
    f"must consist of alphanumeric characters, '-', '_' or '.', and {_ALNUM_ENDS}",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)


def _subdomain(value: str, form: re.Pattern[str], marks: str, unit: str = "characters") -> list[str]:
    """A subdomain of the given form; `marks` is what it may hold beside letters and digits."""
    errors = _length(value, SUBDOMAIN_BYTES, unit)
    if not form.fullmatch(value):
        text = (
            f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, {marks}, "
            f"and {_ALNUM_ENDS}"
        )
        errors.append(_pattern(text, form.pattern, "example.com"))
    return errors


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: namespaces, containers, ports of Services."""
    if is_label(value):
        return []
    errors = _length(value, LABEL_BYTES)
    if not _DNS_LABEL_RE.fullmatch(value):
        if _SUBDOMAIN_RE.fullmatch(value):
            return [*errors, "must not contain dots"]
        text = (
            f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {_ALNUM_ENDS}"
        )
        errors.append(_pattern(text, _DNS_LABEL, "my-name", "123-abc"))
    return errors


def is_label(value: str) -> bool:
    """Whether a string is an RFC 1123 label: the quick answer for most names, which need no messages."""
    return SHORT_LABEL.fullmatch(value) is not None


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: the names of most objects."""
    return [] if is_label(value) else _subdomain(value, _SUBDOMAIN_RE, "'-' or '.'")


def search_domain(value: str) -> list[str]:
    """A domain that resolvers search: a subdomain whose labels may begin with and hold underscores."""
    return _subdomain(value, _UNDERSCORED_RE, "'_', '-' or '.'")


def header(value: str) -> list[str]:
    """The name of an HTTP header."""
    if _HEADER_RE.fullmatch(value):
        return []
    text = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [_pattern(text, _HEADER, "X-Header-Name")]


def http_path(value: str) -> list[str]:
    """What stands after a domain's slash."""
    return [] if _HTTP_PATH_RE.fullmatch(value) else [f"Invalid path (regex used for validation is '{_HTTP_PATH}')"]


def host(value: str) -> list[str]:
    """A host name, whose first label may be `*`."""
    if "*" not in value:
        return dns_subdomain(value)
    if _WILDCARD_RE.fullmatch(value):
        return _length(value, SUBDOMAIN_BYTES)
    text = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return [*_length(value, SUBDOMAIN_BYTES), _pattern(text, _WILDCARD, "*.example.com")]


def qualified_name(value: str) -> list[str]:
    """`name` or `prefix/name`: label and annotation keys, finalizers."""
    if is_label(value) or (len(value) <= SUBDOMAIN_BYTES and _is_qualified(value)):
        return []
    return _unqualified(value)


@lru_cache(maxsize=1024)
def _is_qualified(value: str) -> bool:
    """The few keys that all objects carry are looked at once."""
    return not _unqualified(value)


def _unqualified(value: str) -> list[str]:
    parts = value.split("/")
    if len(parts) > 2:
        extra = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {_QUALIFIED_WANTED}{extra}"]
    errors = []
    if len(parts) == 2:
        prefix = _subdomain(parts[0], _SUBDOMAIN_RE, "'-' or '.'", "bytes") if parts[0] else ["must be non-empty"]
        errors = [f"prefix part {text}" for text in prefix]
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    else:
        errors += [f"name part {text}" for text in _length(name, LABEL_BYTES, "bytes")]
    if not _QUALIFIED_RE.fullmatch(name):
        errors.append(f"name part {_QUALIFIED_WANTED}")
    return errors


def label_value(value: str) -> list[str]:
    """The value of a label; may be empty."""
    if is_label(value):
        return []
    errors = _length(value, LABEL_BYTES, "bytes")
    if not _LABEL_VALUE_RE.fullmatch(value):
        text = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            f"and {_ALNUM_ENDS}"
        )
        errors.append(_pattern(text, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return errors


def path_segment(value: str) -> list[str]:
    """A name that may hold anything which can stand in a URL path (RBAC, IPAddress)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{bad}'" for bad in "/%" if bad in value]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    errors = _length(value, SUBDOMAIN_BYTES)
    if not _CONFIG_KEY_RE.fullmatch(value):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(_pattern(text, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_name(value: str) -> list[str]:
    """The name of an environment variable."""
    errors = [] if value else ["environment variable name must be non-empty"]
    if _ENV_NAME_BAD.search(value):
        errors.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return errors


def port_name(value: str) -> list[str]:
    """RFC 6335 service name: a port of a container, or a targetPort by name."""
    errors = _length(value, 15)
    if not _PORT_NAME_RE.fullmatch(value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def in_range(value: int, low: int, high: int) -> list[str]:
    """low <= value <= high."""
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def port(value: int) -> list[str]:
    """1 to 65535."""
    return in_range(value, 1, 65535)
