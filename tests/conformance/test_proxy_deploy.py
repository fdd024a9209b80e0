"""The manifests of deploy/proxy: what kubectl sends is what the apiserver takes, and what they say is what there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from netplane.api import kinds, schema
from proxy import config, validation
from proxy.__main__ import command
from tests.apiserver_process import Apiserver

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "proxy"
MANIFESTS = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
DOCUMENTS: dict[str, dict[str, Any]] = {
    f"{document['kind']}": document
    for name in MANIFESTS
    for document in yaml.safe_load_all((DEPLOY / name).read_text())
}
SERVED = {(kind.api_version, kind.kind) for kind in kinds.KINDS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apiserver]:
    with Apiserver(tmp_path_factory.mktemp("deploy")) as running:
        yield running


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_apiserver_takes_it(server: Apiserver, kind: str) -> None:
    document = DOCUMENTS[kind]
    assert list(strange(document, *kind_schema(document))) == [], "fields that the API does not have"
    if (document["apiVersion"], kind) in SERVED:
        said = server.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(document))
        assert "server dry run" in said


def test_all_of_them_are_one_customization(server: Apiserver) -> None:
    built = list(yaml.safe_load_all(server.kubectl("kustomize", str(DEPLOY))))
    assert {document["kind"] for document in built} == set(DOCUMENTS)


def kind_schema(document: dict[str, Any]) -> tuple[dict[str, Any], str]:
    group, _, version = document["apiVersion"].rpartition("/")
    name = schema.name_for(group, version, document["kind"])
    return schema.definitions()[name], document["kind"]


def strange(value: Any, said: dict[str, Any], path: str) -> Iterator[str]:
    """Paths of fields that a schema does not know."""
    said = schema.resolve(said)
    properties = said.get("properties")
    if isinstance(value, dict) and properties:
        for name, inner in value.items():
            if name not in properties:
                yield f"{path}.{name}"
            else:
                yield from strange(inner, properties[name], f"{path}.{name}")
    elif isinstance(value, list) and "items" in said:
        for index, inner in enumerate(value):
            yield from strange(inner, said["items"], f"{path}[{index}]")


def test_a_field_that_the_api_does_not_have_would_be_seen() -> None:
    document = {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": {"spec": {"hostNetwrk": True}}}}
    assert list(strange(document, *kind_schema(document))) == ["DaemonSet.spec.template.spec.hostNetwrk"]


def test_the_configuration_is_one_that_the_proxy_takes_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(DOCUMENTS["ConfigMap"]["data"]["config.yaml"])
    made, unsupported = config.load(path)
    assert unsupported == []
    validation.check(made, "config.yaml")
    assert config.options(made).detect_local == "", "until the administrator says where pods' addresses come from"


def test_flags_files_and_names_fit_together() -> None:
    pod = DOCUMENTS["DaemonSet"]["spec"]["template"]["spec"]
    known = {option for parameter in command.params for option in parameter.opts}
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "config")
    for container in (*pod["initContainers"], *pod["containers"]):
        flags = [argument.partition("=") for argument in container["args"]]
        assert {name for name, _, _ in flags} <= known
        (file,) = (value for name, _, value in flags if name == "--config")
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "config")
        assert file == f"{mount['mountPath']}/{volume['configMap']['items'][0]['path']}"
    data = DOCUMENTS["ConfigMap"]["data"]
    keys = {item["key"] for item in volume["configMap"]["items"]}
    keys |= {
        variable["valueFrom"]["configMapKeyRef"]["key"]
        for variable in pod["containers"][0]["env"]
        if "configMapKeyRef" in variable["valueFrom"]
    }
    assert keys == set(data)
    assert pod["serviceAccountName"] == DOCUMENTS["ServiceAccount"]["metadata"]["name"]
    probe = pod["containers"][0]["livenessProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == ("/livez", config.HEALTHZ_PORT)


def test_the_image_has_everything_that_the_distribution_is_built_from() -> None:
    text = (DEPLOY.parent / "Containerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for word in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    assert copied >= {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "netplane", "cni", "proxy", "labs"}
    assert "libnftables1" in text
    entries = re.findall(r'^FROM \S+ AS (agent|proxy)$.*?^ENTRYPOINT \["(.+?)"\]$', text, re.M | re.S)
    assert entries == [(target, f"/opt/netplane/bin/netplane-{target}") for target in ("agent", "proxy")]
