"""What a report says: faults that are planted in an output are said on its first screen, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from pipeline.explore.committed import Committed
from pipeline.report.distributions import AgainstFacts
from pipeline.report.facts import Section, Severity
from pipeline.report.make_facts import ReportChoices, make_facts
from tests.pipeline.explore.values import clustered, make_output

DAYS = [f"dt=2026-11-{day:02d}/part" for day in range(1, 7)]
DAY = 250  # records


def lake(seed: int = 0) -> np.ndarray:
    return clustered(6 * DAY, 16, seed)


def sentences(facts: object) -> str:
    return " ".join(finding.text for finding in facts.headline.findings)  # type: ignore[attr-defined]


def test_a_clean_output(tmp_path: Path) -> None:
    facts = make_facts(Committed.read(make_output(tmp_path / "o", lake(), sizes=[DAY] * 6, units=DAYS)))
    assert facts.headline.sentence == "1,500 records, none rejected: look at these 12"
    assert "No dt differs from the others by AUC 0.582 or more (6 of them)." in sentences(facts)
    assert "No duplicates" in sentences(facts)
    assert "No outliers" in sentences(facts)
    assert facts.latents is not None
    assert facts.against is None


@pytest.mark.parametrize(("near", "alike"), [(False, False), (True, False), (False, True)])
def test_planted_faults(tmp_path: Path, near: bool, alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 duplicates, 20 outliers, one partition whose data have drifted."""
    if not alike:  # as of many records, which are not all compared
        monkeypatch.setattr("pipeline.report.unusual._COMPARED_ROWS", 0)
    values = lake()
    generator = np.random.default_rng(5)
    drifted = slice(4 * DAY, 5 * DAY)
    values[drifted, 3] += 3
    copied = generator.choice(500, 50, replace=False)
    values[1300:1350] = values[copied] + (0.01 * generator.standard_normal((50, 16)) if near else 0)
    outliers = generator.choice(np.arange(600, 900), 20, replace=False)
    values[outliers] = 60 * generator.standard_normal((20, 16))
    if alike:  # in a latent that has forgotten how they differ
        values[outliers] = values.mean(0) + 30 + generator.standard_normal((20, 16))
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values, sizes=[DAY] * 6, units=DAYS)))
    assert facts.headline.sentence == (
        "1,500 records, none rejected, 50 duplicates, 20 outliers, dt=2026-11-05 differs: look at these 12"
    )
    assert facts.headline.severity == Severity.LOOK
    by_section = {finding.section: finding.text for finding in facts.headline.findings}
    assert "50 duplicates, in 50 groups" in by_section[Section.DUPLICATES]
    assert "most in latent[3]" in by_section[Section.PARTITIONS]
    assert facts.outliers is not None
    shown = {int(image.record.key[1:]) for image in facts.outliers.images}
    assert shown <= set(outliers.tolist())
    assert facts.duplicates is not None
    for group in facts.duplicates.examples:
        first, second = (int(image.record.key[1:]) for image in group)
        assert copied[second - 1300] == first
    why = [image.why for image in facts.headline.look]
    assert sum(text.startswith("outlier") for text in why) == 5
    assert "there 2 times" in why
    assert "of dt=2026-11-05, which differs from the others" in why


def test_a_group_of_outliers_is_larger_than_what_neighbours_see(tmp_path: Path) -> None:
    """60 that are like each other have their 30th neighbours among themselves."""
    values = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    values[:60] += 9
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values, sizes=[DAY] * 6, units=DAYS)))
    assert ", 60 outliers, " in facts.headline.sentence
    assert facts.outliers is not None
    assert {int(image.record.key[1:]) for image in facts.outliers.images} <= set(range(60))
    assert "to those beyond a g" in facts.headline.look[0].why


def test_a_group_that_a_gap_sets_apart_is_none_of_the_data(tmp_path: Path) -> None:
    """60 that are no farther away than some records are, but much nearer to each other than to these."""
    values = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    values[:60] *= 0.2
    values[:60, 0] += 7
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values, sizes=[DAY] * 6, units=DAYS)))
    assert ", 60 outliers, " in facts.headline.sentence
    assert "to those beyond a gap" in facts.headline.look[0].why


def test_copies_of_a_usual_record_are_no_outliers(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    values[:40] = values[40]
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values)))
    assert "40 duplicates" in facts.headline.sentence
    assert "No outliers" in sentences(facts)


def test_small_classes_are_no_outliers(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
    values[:90] += 9
    values[90:180] -= 9
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values)))
    assert "No outliers" in sentences(facts)


def test_images_with_one_perceptual_hash_look_alike(tmp_path: Path) -> None:
    """Only equal bytes, and latents that are equal or nearly so, say that a record is there again."""
    values, hashes = lake(), np.random.default_rng(0).integers(-(1 << 63), (1 << 63) - 1, 6 * DAY, np.int64)
    hashes[[5, 6]] = hashes[4]
    values[31], hashes[31] = values[30], hashes[30]
    output = make_output(tmp_path / "o", values, more={"phash": pa.array(hashes)}, sizes=[DAY] * 6, units=DAYS)
    facts = make_facts(Committed.read(output))
    why = {image.record.key: image.why for image in facts.headline.look}
    assert (why["k4"], why["k30"]) == ("3 look alike", "there 2 times")
    assert facts.headline.sentence.startswith("1,500 records, none rejected, 1 duplicate: ")
    assert "1 duplicate and 2 that look alike, in 2 groups" in sentences(facts)


def test_errors_decide_what_is_best_and_worst(tmp_path: Path) -> None:
    mse = np.random.default_rng(0).lognormal(-5, 0.3, 1500).astype(np.float32)
    mse[77] = 40.0
    output = make_output(tmp_path / "o", lake(), more={"mse": pa.array(mse)}, sizes=[DAY] * 6, units=DAYS)
    facts = make_facts(Committed.read(output))
    strips = {strip.name: [int(image.record.key[1:]) for image in strip.images] for strip in facts.strips}
    order = np.argsort(mse, kind="stable")
    assert strips["best"] == order[:12].tolist()
    assert strips["worst"] == order[::-1][:12].tolist()
    assert set(strips["median"]) == set(order[744:756].tolist())
    assert facts.headline.look[0].record.key == "k77"
    assert facts.headline.look[0].error == pytest.approx(40.0)
    assert "1 outlier" in facts.headline.sentence
    assert facts.error is not None
    assert facts.error.counts.sum() == 1500


def test_against_another_output(tmp_path: Path) -> None:
    one = lake()
    moved = lake(seed=0)[::-1].copy()
    moved[:, 5] += 1.5
    error = np.random.default_rng(1).lognormal(-5, 0.3, 1500).astype(np.float32)
    reference = make_output(tmp_path / "a", one, more={"mse": pa.array(error)})
    output = make_output(tmp_path / "b", moved, more={"mse": pa.array(error * 1.04)})
    facts = make_facts(Committed.read(output), Committed.read(reference))
    against = facts.against
    assert against is not None
    assert against.drifted
    assert against.dimensions[0].name == "latent[5]"
    assert against.error_change == pytest.approx(0.04, abs=1e-5)
    assert against.error is not None
    assert against.error.reference is not None
    assert against.error.reference.sum() == pytest.approx(1)
    assert f"error 4% above {reference}, drifted from {reference}" in facts.headline.sentence
    assert facts.headline.severity == Severity.BAD
    same = make_facts(Committed.read(reference), Committed.read(make_output(tmp_path / "c", lake()[:700])))
    assert same.against is not None
    assert not same.against.drifted


def test_against_an_output_of_another_model(tmp_path: Path) -> None:
    other = make_output(tmp_path / "a", lake()[:100], digest="d2")
    facts = make_facts(Committed.read(make_output(tmp_path / "b", lake()[:100])), Committed.read(other))
    assert facts.against is not None
    assert "made by another model" in facts.against.why_not
    assert "cannot be compared" in sentences(facts)


def test_what_was_kept_is_the_reference_of_what_a_run_wrote(tmp_path: Path) -> None:
    from pipeline.report.drift_facts import against_before
    from pipeline.report.survey import survey

    values = lake()
    values[5 * DAY :, 2] -= 5
    committed = Committed.read(make_output(tmp_path / "o", values, sizes=[DAY] * 6, units=DAYS))
    summary = {"run": {"units": 1, "sample": [DAYS[5]]}}
    found = against_before(survey(committed), summary, None, "before")
    assert found is not None
    assert found.drifted
    assert (found.dimensions[0].name, found.rows) == ("latent[2]", (5 * DAY, DAY))
    assert against_before(survey(committed), {"run": {"units": 6, "sample": DAYS}}, None, "before") is None
    assert against_before(survey(committed), {"run": {}}, None, "before") is None


def test_a_part_that_was_broken_before_is_no_yardstick(tmp_path: Path) -> None:
    """The night after a broken one is right; a second broken one is not, whatever the first was."""
    values, summary = lake(), {"run": {"units": 1, "sample": [DAYS[5]]}}
    values[4 * DAY : 5 * DAY, 3] += 3
    right = found_against(tmp_path / "a", values, summary)
    assert (right.drifted, right.left_out, right.rows) == (False, ("dt=2026-11-05",), (4 * DAY, DAY))
    values[5 * DAY :, 2] -= 5
    wrong = found_against(tmp_path / "b", values, summary)
    assert (wrong.drifted, wrong.left_out) == (True, ("dt=2026-11-05",))


def test_parts_that_are_most_of_what_was_before_stay_the_yardstick(tmp_path: Path) -> None:
    values, summary = lake()[: 2 * DAY], {"run": {"units": 1, "sample": [DAYS[1]]}}
    values[:DAY, 3] += 3
    found = found_against(tmp_path / "a", values, summary, days=2)
    assert (found.drifted, found.left_out, found.rows) == (True, (), (DAY, DAY))


def found_against(place: Path, values: np.ndarray, summary: dict[str, object], days: int = 6) -> AgainstFacts:
    from pipeline.report.drift_facts import against_before, partition_facts
    from pipeline.report.survey import survey

    read = survey(Committed.read(make_output(place, values, sizes=[DAY] * days, units=DAYS[:days])))
    found = against_before(read, summary, partition_facts(read), "before")
    assert found is not None
    return found


def test_a_sample_of_what_a_run_wrote_tells_what_it_kept(tmp_path: Path) -> None:
    """Of units beyond the last one that the summary names it is not known; they are on neither side."""
    from pipeline.output.commit.run_timing import unit_order
    from pipeline.report.drift_facts import against_before
    from pipeline.report.survey import survey

    values = lake()
    order = sorted(DAYS, key=unit_order)
    for day in (order[1], order[3], order[5]):  # which the run wrote, and the summary names the first two
        values[DAYS.index(day) * DAY :][:DAY, 2] -= 5
    committed = Committed.read(make_output(tmp_path / "o", values, sizes=[DAY] * 6, units=DAYS))
    found = against_before(survey(committed), {"run": {"units": 3, "sample": [order[1], order[3]]}}, None, "before")
    assert found is not None
    assert found.rows == (2 * DAY, 2 * DAY)
    assert found.dimensions[0].name == "latent[2]"
    sides = [
        np.concatenate([values[DAYS.index(order[at]) * DAY :][:DAY, 2] for at in some]) for some in ((0, 2), (1, 3))
    ]
    assert found.dimensions[0].ks == pytest.approx(ks_2samp(*sides).statistic, abs=1e-9)


def test_texts_of_data_are_cut(tmp_path: Path) -> None:
    keys = [f"<script>{row}\x1b[2J" + "x" * 5000 for row in range(60)]
    facts = make_facts(
        Committed.read(make_output(tmp_path / "o", clustered(60, 8), keys=keys)), choices=ReportChoices(sample=30)
    )
    assert facts.latents is not None
    assert facts.latents.map is not None
    assert max(len(record.key) for record in facts.latents.map.records) == 200
    assert facts.latents.rows == 30


@pytest.mark.parametrize("rows", [0, 1, 2, 19])
def test_small_outputs(tmp_path: Path, rows: int) -> None:
    facts = make_facts(Committed.read(make_output(tmp_path / "o", clustered(40, 3)[:rows], sizes=[rows])))
    assert facts.headline.sentence.startswith(f"{rows} record{'' if rows == 1 else 's'}, none rejected")
    assert len(facts.headline.look) == min(rows, 12)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (30, "No drift above AUC 0.711 from {r}: .*, and of 15,000 and 30 records all below 0.711 may be chance."),
        (15_000, "No drift from {r}: .*, drift is from 0.52 on."),
    ],
)
def test_of_few_records_the_verdict_says_what_they_can_show(tmp_path: Path, rows: int, text: str) -> None:
    every = clustered(30_000, 8)
    reference = make_output(tmp_path / "r", every[:15_000])
    found = make_facts(Committed.read(make_output(tmp_path / "o", every[-rows:])), Committed.read(reference))
    told = [finding.text for finding in found.headline.findings if finding.section == Section.AGAINST]
    assert len(told) == 1
    assert re.fullmatch(text.replace("{r}", re.escape(reference)), told[0]), told


@pytest.mark.parametrize("sample", [50_000, 3000])
def test_groups_of_outliers_among_many_are_counted(tmp_path: Path, sample: int) -> None:
    """Of 80 that are alike, several are among those that distances are measured to; of others few are so far."""
    values = np.random.default_rng(1).standard_normal((12_000, 12)).astype(np.float32)
    planted = np.random.default_rng(2).choice(12_000, 80, replace=False)
    values[planted] = 0.05 * values[planted] + np.float32(2)  # no farther from the middle than the farthest others
    output = make_output(tmp_path / "o", values)
    facts = make_facts(Committed.read(output), choices=ReportChoices(sample=sample))
    assert facts.outliers is not None
    assert 80 <= facts.outliers.count <= 90
    assert {int(image.record.key[1:]) for image in facts.outliers.images} <= set(planted.tolist())


@pytest.mark.parametrize(("groups", "counted"), [(4, 200), (9, 0)])
def test_more_than_some_groups_are_what_the_data_are(tmp_path: Path, groups: int, counted: int) -> None:
    """As of fewer rows: up to 2% that are far in groups are outliers, more are classes."""
    generator = np.random.default_rng(3)
    values = generator.standard_normal((15_000, 12)).astype(np.float32)
    rows = generator.permutation(15_000)[: 50 * groups].reshape(groups, 50)
    values[rows] = 0.2 * values[rows] + 20 * generator.standard_normal((groups, 1, 12))
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values)))
    assert facts.outliers is not None
    assert counted <= facts.outliers.count <= counted + 12


def test_what_is_far_and_too_many_to_be_confirmed_is_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.report.survey_latents._FAR_ROWS", 50)
    values = np.random.default_rng(3).standard_normal((15_000, 12)).astype(np.float32)
    rows = np.random.default_rng(4).permutation(15_000)[:120]
    values[rows] = 0.2 * values[rows] + 20
    facts = make_facts(Committed.read(make_output(tmp_path / "o", values)))
    assert facts.outliers is not None
    assert facts.outliers.count <= 8
