"""All that the page of a report shows, as values: what is read of an output on one side, HTML on the other.

Every text may come from data (keys, names of shards, labels, errors), so the page escapes all of them. Every sequence
is bounded, whatever the size of the output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lake.core.records import Array
from pipeline.report.distributions import AgainstFacts, GroupFacts, Histogram, LatentFacts, NoiseFacts
from pipeline.report.shown import DuplicateFacts, Fact, ImageFacts, OutlierFacts, RejectFacts, Strip


class Severity(StrEnum):
    """How much a finding matters."""

    GOOD = "good"  # what was looked at is as it should be
    LOOK = "look"  # a person should look
    BAD = "bad"  # the run is not what it should be


class Section(StrEnum):
    """The sections of the page below its headline, in their order. The values are the anchors of links to them."""

    IMAGES = "images"
    AGAINST = "against"
    PARTITIONS = "partitions"
    DUPLICATES = "duplicates"
    OUTLIERS = "outliers"
    REJECTS = "rejects"
    LATENTS = "latents"
    NOISE = "noise"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the first screen says.

    Attributes:
      severity: how much it matters.
      text: one sentence.
      section: where there is more of it; None where this is all.
    """

    severity: Severity
    text: str
    section: Section | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The first screen.

    Attributes:
      sentence: whether the run was good, such as "1.2 M images, 0.3% rejected, error 4% above last night: look at these
        12".
      severity: the worst of all findings.
      findings: the worst first.
      look: the images to look at, at most 12.
    """

    sentence: str
    severity: Severity
    findings: Sequence[Finding]
    look: Sequence[ImageFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The card of a model.

    Attributes:
      name: as the job was given it, such as "zoo:denoiser-gray".
      facts: kind, input, latent, digest and the like.
      figures: what it reaches, of its card: of a model of the zoo its figures, of others what their training measured.
    """

    name: str
    facts: Sequence[Fact]
    figures: Sequence[Fact]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTime:
    """How long a unit took.

    Attributes:
      unit: its id.
      seconds: from its begin to its receipt.
      read: its records.
    """

    unit: str
    seconds: float
    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingFacts:
    """Where the time of a run went.

    Attributes:
      seconds: edges of the intervals since the run began, float64 ``[n + 1]``.
      rates: records per second in each, float64 ``[n]``.
      slowest: the slowest units, the slowest first, at most 10.
      parts: seconds of threads by what they did ("read", "decode", "model", "write", "publish"), in this order; empty
        where the run did not measure them.
    """

    seconds: Array
    rates: Array
    slowest: Sequence[UnitTime]
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The run that left the output as it is.

    Attributes:
      facts: verb, start, duration, records, results, rejects, units, bytes, rate.
      model: what it ran.
      options: that the user gave or that apply.
      versions: of latentlake, Python and the output.
      lineage: inputs, model, digests and checksums, and earlier runs.
      timing: None where the output keeps no times of its units, such as one of an earlier version.
      failed: units that failed, with the error of each; at most 20.
    """

    facts: Sequence[Fact]
    model: ModelFacts
    options: Sequence[Fact]
    versions: Sequence[Fact]
    lineage: Sequence[Fact]
    timing: TimingFacts | None
    failed: Sequence[Fact] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """All that a report shows. A section that the output has nothing for is None or empty, and is left out.

    Attributes:
      output: URI of the output.
      headline: the first screen.
      run: how it was made.
      strips: images: best, median, worst, random.
      error: histogram of the errors (mse); None where there are none.
      noise: of denoise.
      latents: of encode and reconstruct.
      rejects: None where nothing was rejected.
      against: the previous state of this output, or another output; None where there is neither.
      partitions: partitions or units of this output, each against the others; None where there is one only.
      duplicates: None where neither hashes nor latents could show any.
      outliers: None where there is no score.
      notes: what could not be shown and why, in sentences.
    """

    output: str
    headline: Headline
    run: RunFacts
    strips: Sequence[Strip] = ()
    error: Histogram | None = None
    noise: NoiseFacts | None = None
    latents: LatentFacts | None = None
    rejects: RejectFacts | None = None
    against: AgainstFacts | None = None
    partitions: GroupFacts | None = None
    duplicates: DuplicateFacts | None = None
    outliers: OutlierFacts | None = None
    notes: Sequence[str] = ()
