"""A night's verdict as JUnit XML, which Jenkins, GitLab and others show as tests.

A comparison is a test case; one that got worse is a failure. Whether enough was done to judge is a
test case too, skipped where it was not: neither passed nor failed. Why stands in `message`, which
Jenkins shows, and as text, which GitLab does.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from weightsearch.nightly import values_table
from weightsearch.nightly.verdict import described
from weightsearch.runtime.safe_text import presentable
from weightsearch.stats.night_values import Moved, Row
from weightsearch.store.ledger.stored_night import NightVerdict

JUDGED = "enough was done to judge"


def document(verdict: NightVerdict) -> bytes:
    """The file, in UTF-8: one suite, named like the sweep."""
    suite = Element("testsuite", name=presentable(verdict.sweep))
    suite.set("timestamp", verdict.began_at[:19])
    facts = SubElement(suite, "properties")
    for name in ("night", "commit"):
        SubElement(facts, "property", name=name, value=presentable(getattr(verdict, name)))
    for row in verdict.rows:
        _comparison(suite, verdict.sweep, row)
    _judged(suite, verdict)
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("errors", "0")
    for counted, element in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(counted, str(sum(case.find(element) is not None for case in cases)))
    whole = Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    document: bytes = ElementTree.tostring(whole, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _comparison(suite: Element, sweep: str, row: Row) -> None:
    case = _case(suite, f"{sweep}.{row.canary or 'best of the search'}", row.metric)
    if row.moved == Moved.WORSE:
        _why(case, "failure", described(row))
    else:
        SubElement(case, "system-out").text = presentable(described(row))


def _judged(suite: Element, verdict: NightVerdict) -> None:
    case = _case(suite, verdict.sweep, JUDGED)
    if verdict.reasons:
        _why(case, "skipped", "; ".join(verdict.reasons))
    if not verdict.rows and (measured := values_table.rows(verdict)):
        lines = [", ".join(values_table.HEADINGS), *(", ".join(row) for row in measured)]
        text = "\n".join(lines)
        SubElement(case, "system-out").text = presentable(text, lines=True)


def _case(suite: Element, group: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=presentable(group), name=presentable(name))


def _why(case: Element, element: str, text: str) -> None:
    SubElement(case, element, message=presentable(text)).text = presentable(text)
