"""How kube-proxy's flags are written on real command lines, and how they meet the configuration file."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from proxy import config
from proxy.__main__ import command
from proxy.config import Config

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def taken(folder: Path, *flags: str) -> Config:
    made = folder / "made.yaml"
    done = CliRunner().invoke(command, [*flags, f"--write-config-to={made}"])
    assert done.exit_code == 0, done.output
    # As it was written: in a file that is loaded, an empty address means the default.
    return config.decode(yaml.safe_load(made.read_text()), "f")


@pytest.mark.parametrize("flags", [["-v=7"], ["-v7"], ["-v", "7"], ["--v=7"], ["--v", "7"]], ids=" ".join)
def test_a_verbosity_in_every_spelling_goes_over_the_file(tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(f"{HEAD}logging: {{verbosity: 10}}\n")
    assert taken(tmp_path, f"--config={file}").logging.verbosity == 10
    assert taken(tmp_path, *flags).logging.verbosity == 7
    assert taken(tmp_path, f"--config={file}", *flags).logging.verbosity == 7


def test_a_verbosity_that_is_no_number_is_refused() -> None:
    done = CliRunner().invoke(command, ["-v=debug", "--write-config-to=x"])
    assert (done.exit_code, "'=debug' is no number" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("address", "port", "served"),
    [
        ("1.2.3.4", 12345, "1.2.3.4:12345"),
        ("1.2.3.4:12345", 23456, "1.2.3.4:12345"),
        ("fd00:1::5", 12345, "[fd00:1::5]:12345"),
        ("[fd00:1::5]:12345", 56789, "[fd00:1::5]:12345"),
        ("[fd00:1::5]", 12345, "[fd00:1::5]:12345"),
        ("1.2.3.4:12345", 0, ""),
        ("", 12345, ""),
        (None, 12345, "0.0.0.0:12345"),
        (None, 0, ""),
    ],
)
def test_deprecated_ports_meet_addresses(tmp_path: Path, address: str | None, port: int, served: str) -> None:
    said = [] if address is None else [f"--healthz-bind-address={address}"]
    assert taken(tmp_path, *said, f"--healthz-port={port}").healthz_address == served


def test_a_field_that_is_there_twice_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(f"{HEAD}bindAddress: 192.0.2.1\nconntrack:\n  min: 1\n  min: 2\nbindAddress: ::0\n")
    assert config.repeated(file) == ["conntrack.min", "bindAddress"]
    read = config.load(file)[0]
    assert (read.bind_address, read.conntrack.min) == ("::0", 2)
