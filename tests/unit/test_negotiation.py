"""What clients accept, and what they get: media types, their order and wishes about the form."""

import pytest

from netplane.apiserver.describe import discovery
from netplane.apiserver.wire import negotiate
from netplane.apiserver.wire.negotiate import JSON, PROTOBUF, YAML, Form

TABLE = "as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "media", "form"),
    [
        ("", JSON, Form.OBJECT),
        ("*/*", JSON, Form.OBJECT),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", JSON, Form.OBJECT),
        ("application/json;charset=utf-8", JSON, Form.OBJECT),
        (YAML, YAML, Form.OBJECT),
        ("application/json;q=0.5,application/yaml", YAML, Form.OBJECT),
        ("application/yaml;q=0.5,application/json", JSON, Form.OBJECT),
        ("application/yaml,application/json", YAML, Form.OBJECT),
        (PROTOBUF, PROTOBUF, Form.OBJECT),
        (f"{PROTOBUF},application/json", JSON, Form.OBJECT),
        (f"{PROTOBUF};{TABLE},{JSON};{TABLE},{JSON}", JSON, Form.TABLE),
        (f"{JSON};{TABLE}", JSON, Form.TABLE),
        (f"*/*;{TABLE}", JSON, Form.TABLE),
        (f"{YAML};{TABLE}", YAML, Form.TABLE),
        (f"{JSON};as=Table;v=v9;g=meta.k8s.io,{JSON}", JSON, Form.OBJECT),
        ("application/json;as=", JSON, Form.OBJECT),
        (f"{JSON};as=Table;v=v9;g=meta.k8s.io", "", Form.OBJECT),
        ("application/json;v=v1", "", Form.OBJECT),
        ("application/*", "", Form.OBJECT),
        ("APPLICATION/JSON", "", Form.OBJECT),
        ("text/plain", "", Form.OBJECT),
    ],
)
def test_what_is_chosen(accept: str, media: str, form: Form) -> None:
    assert negotiate.choose(accept.encode()) == (media, form)


def test_reviews_have_no_tables() -> None:
    assert negotiate.output(f"{JSON};{TABLE}".encode(), tables=False) == ""
    assert negotiate.output(f"{JSON};{TABLE},{JSON}".encode(), tables=False) == JSON


def test_refusals_of_media_types_and_of_their_parameters() -> None:
    spoken = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    one, many = (negotiate.refusal(b"text/plain", of_list=of_list).message for of_list in (False, True))
    assert one == f"406: Not Acceptable\n\nAvailable representations: {spoken}"
    assert many == f"{one}, {streams}"
    asked = negotiate.refusal(b"application/json;v=v1", of_list=True).message
    assert asked == f"only the following media types are accepted: {spoken}"


def test_groups_come_as_clients_know_them() -> None:
    groups = discovery.groups()
    assert groups[:3] == ["apps", "events.k8s.io", "authentication.k8s.io"]
    events = discovery.resource_list("events.k8s.io", "v1")["resources"]
    assert [one["storageVersionHash"] for one in events] == ["r2yiGXH7wu8="], "of the version that is stored"
    reviews = discovery.resource_list("authorization.k8s.io", "v1")["resources"]
    assert not any("storageVersionHash" in one for one in reviews)
