"""Where features meet: `tests/data/proxy_cases.yaml` with real packets."""

from pathlib import Path

import pytest
import yaml

from proxy.plan import fixtures
from proxy.tools.kernel import verify_all

pytestmark = pytest.mark.privileged
CASES = Path(__file__).parents[1] / "data" / "proxy_cases.yaml"


def test_the_kernel_does_what_every_case_says() -> None:
    worlds = fixtures.read(yaml.safe_load(CASES.read_text()))
    judged = list(verify_all(worlds))
    wrong = [f"{one.id}: {r.flow}: {'; '.join(r.problems)}" for one in judged for r in one.results if not r.ok]
    assert len(judged) == len(worlds)
    assert wrong == []
