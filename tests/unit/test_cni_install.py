"""The built relay is found wherever the package lies: under an environment's share folder, said by the RECORD file."""

from importlib import metadata
from pathlib import Path

import pytest

from cni import install


def distribution(root: Path, package: str, *, built: bool) -> metadata.PathDistribution:
    """An installed netplane: an ordinary install records the package, an editable one a .pth file."""
    site = root / "lib" / "python3.11" / "site-packages"
    info = site / "netplane-0.1.0.dist-info"
    info.mkdir(parents=True)
    lines = [package, "netplane-0.1.0.dist-info/RECORD"]
    if built:
        relay = root / "share" / "netplane" / install.RELAY
        relay.parent.mkdir(parents=True)
        relay.write_bytes(b"\x7fELF")
        lines.append(f"../../../share/netplane/{install.RELAY}")
    (info / "RECORD").write_text("".join(f"{line},,\n" for line in lines))
    return metadata.PathDistribution(info)


@pytest.mark.parametrize("package", ["cni/__init__.py", "_netplane.pth"], ids=["wheel", "editable"])
@pytest.mark.parametrize("built", [True, False])
def test_the_relay_is_found_in_both_kinds_of_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, built: bool
) -> None:
    found = distribution(tmp_path, package, built=built)
    monkeypatch.setattr(metadata, "files", lambda _name: found.files)
    path = install.built_relay()
    assert path == (tmp_path / "share" / "netplane" / install.RELAY if built else None)
    assert install.relay() == (b"\x7fELF" if built else install.python_relay())


def test_a_recorded_relay_that_was_deleted_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = distribution(tmp_path, "cni/__init__.py", built=True)
    monkeypatch.setattr(metadata, "files", lambda _name: found.files)
    (tmp_path / "share" / "netplane" / install.RELAY).unlink()
    assert install.built_relay() is None
