"""Selectors: what they match, and what a syntax error says."""

import pytest

from netplane.api import field_labels, kinds
from netplane.api.errors import StatusError
from netplane.api.selectors import from_label_selector, parse_fields, parse_labels

POD = {"app": "web", "tier": "front", "n": "7"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("missing", False),
        ("!missing", True),
        ("app=web", True),
        ("app==web", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("missing=", False),
        ("app in (web,db)", True),
        ("app in(db)", False),
        ("missing in (x)", False),
        ("app notin (db, x)", True),
        ("app notin (web)", False),
        ("missing notin (web)", True),
        ("app=web,tier=front", True),
        ("app=web , tier = back", False),
        ("n>6", True),
        ("n>7", False),
        ("n<8", True),
        ("missing<8", False),
        ("app>3", False),
        ("app in ()", False),
        ("in in (x)", False),
        ("!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name", True),
    ],
)
def test_label_selectors_match(text: str, match: bool) -> None:
    assert parse_labels(text).matches(POD) is match


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
            "the value must be an integer",
        ),
    ],
)
def test_label_syntax_errors_are_kubernetes_words(text: str, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        parse_labels(text)
    assert (failure.value.code, failure.value.reason, failure.value.message) == (400, "BadRequest", message)


def test_keys_and_values_are_validated() -> None:
    with pytest.raises(StatusError, match=r'<nil>: Invalid value: "a/b/c": a valid label key must consist of'):
        parse_labels("a/b/c=x")
    with pytest.raises(StatusError, match=r'values\[0\]\[a\]: Invalid value: "-x": a valid label must be'):
        parse_labels("a=-x")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a,metadata.namespace=n", True),
        ("metadata.name!=a", False),
        ("absent=", True),
        ("absent!=", False),
        (r"odd=x\,y\=z", True),
    ],
)
def test_field_selectors_match(text: str, match: bool) -> None:
    values = {"metadata.name": "a", "metadata.namespace": "n", "odd": "x,y=z"}
    assert parse_fields(text).matches(values) is match


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    ],
)
def test_field_syntax_errors(text: str, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        parse_fields(text)
    assert (failure.value.code, failure.value.message) == (400, message)


def test_exact_gives_the_name_to_read() -> None:
    assert parse_fields("metadata.name=a").exact("metadata.name") == "a"
    assert parse_fields("metadata.name!=a").exact("metadata.name") is None


def test_fields_are_checked_per_kind() -> None:
    field_labels.check(kinds.SERVICE, parse_fields("spec.type=NodePort"))
    with pytest.raises(StatusError, match=r"field label not supported: spec\.foo"):
        field_labels.check(kinds.SERVICE, parse_fields("spec.foo=1"))
    with pytest.raises(StatusError, match=r'"x" is not a known field selector: only "metadata.name", '):
        field_labels.check(kinds.CONFIG_MAP, parse_fields("x=1"))


def test_fields_are_read_from_objects() -> None:
    pod = {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIPs": [{"ip": "::1"}]},
    }
    for text, match in (
        ("spec.nodeName=n1,status.phase!=Failed", True),
        ("status.podIPs=::1", False),
        ("spec.hostNetwork=false", True),
        ("spec.nodeName=", False),
    ):
        assert field_labels.matches(kinds.POD, parse_fields(text), pod) is match
    event = {"source": {"component": "kubelet"}, "involvedObject": {"name": "p"}}
    assert field_labels.matches(kinds.EVENT, parse_fields("source=kubelet,involvedObject.name=p"), event)
    assert field_labels.matches(kinds.NODE, parse_fields("spec.unschedulable=false"), {})


def test_label_selector_objects() -> None:
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["back"]},
            {"key": "n", "operator": "Exists"},
        ],
    }
    assert from_label_selector(selector).matches(POD)
    assert not from_label_selector(selector).matches({"app": "web"})
    with pytest.raises(StatusError, match='"Foo" is not a valid label selector operator'):
        from_label_selector({"matchExpressions": [{"key": "a", "operator": "Foo"}]})
