"""Make the report of an output, and write it."""

from dataclasses import dataclass
from html import escape
from typing import Any

from lake.core.printable import printable
from lake.storage import put
from pipeline.explore.committed import Committed
from pipeline.report.facts import Headline, ReportFacts
from pipeline.report.make_facts import ReportChoices, make_facts
from pipeline.report.page.document import check_installed
from pipeline.report.page.render import render


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Report:
    """A report that was written.

    Attributes:
      file: where the page is.
      headline: what its first screen says.
    """

    file: str
    headline: Headline

    def to_value(self) -> dict[str, Any]:
        """Return the first screen as JSON values."""
        return {
            "file": self.file,
            "headline": self.headline.sentence,
            "severity": str(self.headline.severity),
            "findings": [
                {
                    "severity": str(finding.severity),
                    "text": finding.text,
                    "section": None if finding.section is None else str(finding.section),
                }
                for finding in self.headline.findings
            ],
            "look_at": [
                {
                    "key": image.record.key,
                    "shard": image.record.shard,
                    "index": image.record.index,
                    "why": image.why,
                }
                for image in self.headline.look
            ],
        }

    def describe(self) -> list[str]:
        """Return the first screen as lines for a person."""
        lines = [self.headline.sentence]
        lines += [f"  {finding.severity}: {finding.text}" for finding in self.headline.findings]
        return [*lines, f"the page: {self.file}"]

    def __repr__(self) -> str:
        return f"Report({self.file!r}: {self.headline.sentence})"

    def __str__(self) -> str:
        return "\n".join(map(printable, self.describe()))

    def _repr_html_(self) -> str:
        sentence, *findings, page = (escape(printable(line)) for line in self.describe())
        return f"<p><b>{sentence}</b></p><p>{'<br>'.join(findings)}</p><p>{page}</p>"


def make_report(committed: Committed, file: str, against: Committed | None, choices: ReportChoices) -> Report:
    """Make the report of an output, and write it.

    Args:
      committed: the output.
      file: where to write the page: local path, or URI in a store.
      against: the output to compare it with; None to compare the units of its latest run with those before.
      choices: of the user.

    Raises:
      UsageError: a package for it is missing, or there is no such column to colour by.
      LatentlakeError: the tables are not those of the manifest.
      OSError: the page cannot be written.
    """
    check_installed()
    facts: ReportFacts = make_facts(committed, against, choices)
    put(file, render(facts).encode())
    return Report(file=file, headline=facts.headline)
