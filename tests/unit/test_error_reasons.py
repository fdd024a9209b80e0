"""Why a file cannot be read, in one line that a person can act on: no errno, no snippet, no links of a library."""

from pathlib import Path

import pytest
import yaml

from cni import command as cni_command
from netplane.apiserver.process import pki
from netplane.errors import NetplaneError, reason

LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]


@pytest.mark.parametrize("loader", LOADERS, ids=["python", "c"])
def test_a_yaml_parser_tells_line_and_column(loader: type[yaml.SafeLoader]) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.load("a: 1\nb: [\n", loader)
    assert "\n" not in reason(caught.value)
    assert reason(caught.value).endswith("(line 3, column 1)")


def test_the_system_tells_without_its_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "none").read_text()
    assert reason(caught.value) == "No such file or directory"


def test_anything_else_comes_as_it_is_on_one_line() -> None:
    assert reason(ValueError("two\n  lines")) == "two lines"


def test_a_file_that_is_no_pem_is_named_without_a_link(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("no certificate\n")
    with pytest.raises(NetplaneError, match=r"--client-ca-file .*ca\.crt: Unable to load PEM file\n") as caught:
        pki.check_ca(file)
    assert "http" not in str(caught.value)


def test_a_lease_store_that_is_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(NetplaneError, match="there is no lease store") as caught:
        cni_command.read(tmp_path / "leases.db", "")
    assert "no pod was given an address yet" in caught.value.hint
