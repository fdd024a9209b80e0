"""Rules of the house that no linter knows: what the first hop may import, where packages come from, what is tidy."""

import ast
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner

import cni
import labs
import netplane
import proxy
from netplane import cli

ROOT = Path(__file__).parents[2]


def test_the_first_hop_imports_only_what_costs_nothing() -> None:
    tree = ast.parse((ROOT / "cni" / "shim.py").read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert found <= {"sys", "posix", "_socket"}


@pytest.mark.parametrize("package", [netplane, cni, proxy, labs])
def test_generic_package_names_come_from_this_project(package: object) -> None:
    assert Path(str(package.__file__)).parent.parent == ROOT  # type: ignore[attr-defined]


def test_the_distribution_offers_its_programs() -> None:
    scripts = {e.name for e in distribution("netplane").entry_points if e.group == "console_scripts"}
    assert {"netplane", "netplane-proxy", "netplane-agent"} <= scripts
    for script in ("netplane", "netplane-proxy", "netplane-agent"):
        assert Path(sys.executable).with_name(script).exists()


def test_every_verb_has_help() -> None:
    verbs = {e.name for e in entry_points(group="netplane.commands")}
    assert {"apiserver", "controllers", "lab"} <= verbs
    for verb in sorted(verbs):
        result = CliRunner().invoke(cli.cli, [verb, "--help"])
        assert result.exit_code == 0, result.output
        assert "Usage:" in result.output


def test_the_command_refuses_to_be_the_plugin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CNI_COMMAND", "ADD")
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "not the CNI plugin" in capsys.readouterr().out


def test_there_is_no_init_under_tests() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("words", [(), ("apiserver",), ("cni",), ("lab",)], ids=" ".join)
def test_lists_of_verbs_end_in_no_dots(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli.cli, [*words, "--help"]).output.partition("Commands:")[2]
    assert shown
    assert "..." not in shown
