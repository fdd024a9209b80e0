"""The reference's decisions, through `netplane verify`. Collected only where the facts lie."""

from pathlib import Path

import yaml
from click.testing import CliRunner

from proxy.tools.verify import command

PACKETS = Path(__file__).parents[2] / ".." / "shared" / "facts" / "service_packets.yaml"

if PACKETS.is_file():

    def test_every_flow_of_the_reference_passes() -> None:
        result = CliRunner().invoke(command, [str(PACKETS)])
        assert result.exit_code == 0, result.output
        cases = yaml.load(PACKETS.read_text(), yaml.CSafeLoader)["cases"]
        flows = sum(len(case["flows"]) for case in cases)
        assert f"PASS  {flows:,} flows in {len(cases)} cases" in result.output
