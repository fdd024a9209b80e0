"""The report of `netplane verify`: for people, as JSON, and as JUnit XML for CI."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from proxy.plan.verdicts import Judged, Result
from proxy.tools.show import as_json, bad, bold, dim, good, plural, say


class Report(NamedTuple):
    """Everything that was judged: (file, case) pairs, by whom (`tracer`, `kernel`), and how long it took."""

    judged: Sequence[tuple[str, Judged]]
    by: str
    took_s: float

    @property
    def results(self) -> list[Result]:
        """All flows."""
        return [result for _, case in self.judged for result in case.results]

    @property
    def failed(self) -> int:
        """How many flows are not as they should be."""
        return sum(not result.ok for result in self.results)


def text(report: Report, *, verbose: bool) -> None:
    """A line for each case, everything about what failed, and a summary."""
    for _, case in report.judged:
        _case(case, verbose=verbose)
    total, failed = len(report.results), report.failed
    verdict = bad(f"FAIL  {plural(failed, 'flow')} of {total:,}") if failed else good(f"PASS  {plural(total, 'flow')}")
    say(f"\n{verdict} in {plural(len(report.judged), 'case')}, by the {report.by}, {report.took_s:.2f} s")


def _case(case: Judged, *, verbose: bool) -> None:
    wrong = [result for result in case.results if not result.ok]
    mark = bad("✗") if wrong else good("✓")
    counts = f"{len(case.results) - len(wrong)}/{len(case.results)}"
    say(f"{mark} {bold(case.id)} {dim(counts)}")
    for note in case.notes:
        say(f"    {click.style('note', fg='yellow')} {note}")
    for result in case.results if verbose else wrong:
        _flow(result, verbose=verbose)


def _flow(result: Result, *, verbose: bool) -> None:
    flow = result.flow
    say(f"  {good('✓') if result.ok else bad('✗')} {flow.title}{dim(f'  {flow}') if flow.name else ''}")
    for problem in result.problems:
        say(f"      {bad(problem)}")
    if verbose and result.ok:
        say(f"      {result.seen}")
    if not result.ok and result.trace:
        say("\n".join(f"      {dim(line)}" for line in result.trace.splitlines()))


def json(report: Report) -> None:
    """One document: totals, then every flow."""
    as_json(
        {
            "passed": not report.failed,
            "by": report.by,
            "flows": len(report.results),
            "failed": report.failed,
            "seconds": round(report.took_s, 3),
            "cases": [
                {"file": file, "id": case.id, "notes": list(case.notes), "flows": [_flow_json(r) for r in case.results]}
                for file, case in report.judged
            ],
        }
    )


def _flow_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.flow.title,
        "flow": str(result.flow),
        "passed": result.ok,
        "verdict": result.seen.outcome,
        "endpoints": dict(result.seen.endpoints),
        "problems": list(result.problems),
        **({} if result.ok or not result.trace else {"trace": result.trace.splitlines()}),
    }


def junit(report: Report) -> None:
    """JUnit XML: a suite for each case, a test for each flow."""
    import junitparser  # noqa: PLC0415 - only for this output

    document: Any = junitparser.JUnitXml("netplane verify")
    for file, case in report.judged:
        suite = junitparser.TestSuite(case.id)
        suite.add_property("file", file)
        suite.add_property("by", report.by)
        for result in case.results:
            suite.add_testcase(_test(junitparser, case, result))
        document.add_testsuite(suite)
    document.update_statistics()
    document.time = round(report.took_s, 3)
    click.echo('<?xml version="1.0" encoding="UTF-8"?>')
    click.echo(document.tostring().decode())


def _test(junitparser: Any, case: Judged, result: Result) -> Any:
    test = junitparser.TestCase(result.flow.title, classname=case.id)
    if not result.ok:
        failure = junitparser.Failure("; ".join(result.problems), "VerdictError")
        failure.text = f"{result.flow}\nseen: {result.seen}\n{result.trace}"
        test.result = [failure]
    return test
