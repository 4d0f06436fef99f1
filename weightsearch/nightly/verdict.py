"""What a night has brought, and the verdict on it.

A night is two ordinary studies, named after it: its canaries, each with every seed, and its search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import Engine

from weightsearch.report.evidence.ranking import not_comparable
from weightsearch.report.evidence.units import is_of_depth
from weightsearch.stats import comparison, drift
from weightsearch.stats.night_values import CanaryRuns, Moved, NightValues, Row, SearchBest
from weightsearch.store.ledger import nights, queries, studies
from weightsearch.store.ledger.nights import Baseline, Night
from weightsearch.store.ledger.stored_night import Mover, NightVerdict, NightWord
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import OPEN, PointState
from weightsearch.study import planning, weight_presets
from weightsearch.study.looks.pruner_spec import PrunerSpec
from weightsearch.study.search_space import decimals
from weightsearch.study.spec import SamplerSpec, StudySpec
from weightsearch.study.tables.share_spec import ShareSpec

Kept = TypeVar("Kept")

CANARIES, SEARCH = "canaries", "search"
MOST_MOVED = 3  # scenes that are named


def study_name(night: Night, part: str) -> str:
    return f"{night.sweep}-{night.night}-{part}"


def canary_study(spec: StudySpec) -> StudySpec:
    """The canaries as a study of its own."""
    assert spec.nightly is not None
    written = tuple(
        weight_presets.tables(c.weights, spec.loss.terms) for c in spec.nightly.canaries
    )
    loss = spec.loss.model_copy(update={"weights": written, "weightings": (), "warm_up": None})
    plain = {"sampler": SamplerSpec(), "pruner": PrunerSpec(), "share": ShareSpec()}
    return spec.model_copy(update={"loss": loss, **plain, "promote": None})


def search_study(spec: StudySpec) -> StudySpec | None:
    """What is searched every night; None where nothing is."""
    assert spec.nightly is not None
    if not spec.nightly.trials:
        return None
    sampler = spec.sampler.model_copy(update={"trials": spec.nightly.trials})
    # Nights compare only where their runs are of one form.
    other = {"share": ShareSpec(), "promote": None, "nightly": None}
    return spec.model_copy(update={"sampler": sampler, **other})


@dataclass(frozen=True)
class Found:
    """What a night's studies have brought so far."""

    spec: StudySpec
    """Of the canaries."""
    digest: str
    """Of all that the canaries' values depend on, but the code."""
    measured: NightValues
    lacking: list[str]
    """What is not done, and why."""


def measure(engine: Engine, night: Night) -> Found:
    """Reads the night's studies. Raises StudyError where they were deleted."""
    study = studies.find(engine, study_name(night, CANARIES))
    spec = study.spec
    assert spec.nightly is not None
    kept = (spec.objective.metric, *spec.objective.guards)
    done = queries.done(engine, study)
    runs = [run for run in done if not_comparable(run) is None]
    canaries: dict[str, CanaryRuns] = {}
    lacking = sorted({f"a canary is not comparable: {w}" for w in map(not_comparable, done) if w})
    for asked in spec.nightly.canaries:
        point = planning.canary(spec, asked)
        mine = {r.seed: r.result for r in runs if r.point.key() == point.key()}
        if len(mine) < len(spec.nightly.seeds):
            lacking.append(
                f"canary {asked.name} has {len(mine)} of {len(spec.nightly.seeds)} seeds done"
            )
            continue
        seeds = {str(seed): mine[seed] for seed in spec.nightly.seeds}
        canaries[asked.name] = CanaryRuns(
            point=point.id(),
            seeds={s: _only(kept, result.metrics) for s, result in seeds.items()},
            samples={s: _only(kept, result.samples) for s, result in seeds.items()},
            groups=next((result.groups for result in seeds.values() if result.groups), []),
        )
    lacking += sorted({str(row["reason"]) for row in queries.failed(engine, study)})
    searched = _searched(engine, night, lacking) if spec.nightly.trials else None
    results = [run.result for run in runs]
    measured = NightValues(
        canaries=canaries,
        search=searched[0] if searched else None,
        best=searched[1] if searched else None,
        devices=sorted({r.device.partition(":")[0] for r in results if r.device}),
        hosts=sorted({r.host for r in results if r.host}),
        versions=(results[0].versions if results else None) or {},
    )
    return Found(spec, _settings(study), measured, lacking)


def _only(names: Sequence[str], values: Mapping[str, Kept]) -> dict[str, Kept]:
    return {name: values[name] for name in names if name in values}


def _searched(engine: Engine, night: Night, lacking: list[str]) -> tuple[str, SearchBest] | None:
    """The digest of the search's settings and its best, once it has come to its end; `lacking` gets
    what is not done."""
    study = studies.find(engine, study_name(night, SEARCH))
    counts = queries.counts(engine, study)
    leader = queries.leader(engine, study)
    if any(counts[state] for state in OPEN) or leader is None:
        done = f"{counts[PointState.DONE]} of {counts['total']} points done"
        none = ", of which none has a value to rank by" if counts[PointState.DONE] else ""
        lacking.append(f"the search has {done}{none if leader is None else ''}")
        return None
    point, value = leader
    return study.spec.digest(promotion=True), SearchBest(
        value, decimals(point.weights), point.params
    )


def digest(spec: StudySpec) -> str:
    """Twelve hex digits of all that a night depends on: the study with its canaries and seeds."""
    assert spec.nightly is not None
    return _digest(
        {"study": spec.digest(promotion=True), "nightly": spec.nightly.model_dump(mode="json")}
    )


def _digest(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _settings(study: Study) -> str:
    """Of what the canaries' values depend on, whatever is searched around them."""
    assert study.spec.nightly is not None
    facts = study.spec.resolved()
    kept = {name: facts[name] for name in ("objective", "data", "evaluate")}
    kept["train"] = study.spec.train.identity()
    kept["model"] = facts["model"] and facts["model"] | {"encoder": None, "decoder": None}
    kept["seeds"] = facts["nightly"]["seeds"]
    kept["canaries"] = {
        canary.name: planning.canary(study.spec, canary).key()
        for canary in study.spec.nightly.canaries
    }
    return _digest(kept | {"data_digest": study.data_digest})


def verdict(engine: Engine, night: Night, cut: Sequence[str] = ()) -> NightVerdict:
    """Whether the night is worse than the baseline, in which metrics, and whether the code or the
    search moved; `cut` says why it ended early."""
    found, baseline = measure(engine, night), nights.baseline(engine, night.sweep)
    reasons = [*found.lacking, *cut]
    rows: list[Row] = []
    notes: list[str] = []
    if baseline is None:
        reasons.append(
            "there is no baseline; if its values are good, `weightsearch nightly accept"
            f" {night.sweep} --night {night.night} --why TEXT` makes one of them"
        )
    elif baseline.digest != found.digest:
        reasons.append(
            f"the baseline of {baseline.night} was accepted for other canaries, settings or data;"
            f" `weightsearch nightly accept {night.sweep} --night {night.night} --why TEXT` makes"
            " another"
        )
    else:
        rows, notes = _rows(found, baseline)
        reasons += [
            f"the seeds of {row.canary or 'all canaries'} all gave one {row.metric}, so there is no"
            " band"
            for row in rows
            if row.moved == Moved.NO_SPREAD and row.metric == found.spec.objective.metric
        ]
    word = NightWord.NOT_JUDGED if reasons else NightWord.OK
    if any(row.moved == Moved.WORSE for row in rows):
        word = NightWord.REGRESSION
    studies_of_night = [
        study_name(night, part) for part in (CANARIES, SEARCH)[: 1 + _searches(found)]
    ]
    return NightVerdict(
        sweep=night.sweep,
        night=night.night,
        commit=night.commit,
        began_at=night.began_at.isoformat(timespec="seconds"),
        verdict=word,
        answer=answer(word, rows, reasons),
        moved=_mover(rows),
        metric=found.spec.objective.metric,
        of_depth=is_of_depth(found.spec),
        level=drift.LEVEL,
        rows=[_with_evidence(_with_margin(row, found), found, baseline) for row in rows],
        reasons=reasons,
        notes=notes,
        baseline=baseline.acceptance() if baseline is not None else None,
        measured=found.measured.means_only(),
        studies=studies_of_night,
        device_seconds=sum(
            queries.device_seconds(engine, studies.find(engine, name)) for name in studies_of_night
        ),
    )


def worse_now(engine: Engine, night: Night) -> list[str]:
    """The metrics in which the night is worse than the baseline that counts now, described."""
    rows = verdict(engine, night).rows
    return [described(row) for row in rows if row.moved == Moved.WORSE]


def _searches(found: Found) -> bool:
    assert found.spec.nightly is not None
    return found.spec.nightly.trials > 0


def _rows(found: Found, baseline: Baseline) -> tuple[list[Row], list[str]]:
    """The comparisons, and what else is not as it was."""
    goal = found.spec.objective
    minimize = goal.direction == "minimize"
    common = set.intersection(
        *(
            set(run)
            for canary in baseline.measured.canaries.values()
            for run in canary.seeds.values()
        )
    )
    metrics = {
        name: comparison.smaller_is_better(name, goal.metric, minimize)
        for name in dict.fromkeys((goal.metric, *goal.guards))
        if name in common
    }
    before, now = baseline.measured, found.measured
    notes = []
    if before.search and now.search and before.search != now.search:
        before = replace(before, best=None)
        notes.append("the search has other settings than the baseline's: its best is not compared")
    notes += _circumstances(before, now)
    return drift.compare(before, now, metrics), notes


def _circumstances(before: NightValues, now: NightValues) -> list[str]:
    """On what it was measured, where that differs from the baseline's."""
    notes = [
        f"{name}: {' '.join(old)} before, {' '.join(new)} now"
        for name, old, new in (
            ("devices", before.devices, now.devices),
            ("hosts", before.hosts, now.hosts),
        )
        if new and old != new
    ]
    old, new = before.versions, now.versions
    if new and old != new:
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        said = [f"{n} {old.get(n, '-')} before, {new.get(n, '-')} now" for n in changed]
        notes.append(f"versions: {', '.join(said)}")
    return notes


def _mover(rows: Sequence[Row]) -> Mover:
    moved = [row for row in rows if row.moved in (Moved.WORSE, Moved.BETTER)]
    code = any(row.canary is not None for row in moved)
    search = any(row.canary is None for row in moved)
    if code and search:
        return Mover.CODE_AND_SEARCH
    return Mover.CODE if code else Mover.SEARCH if search else Mover.NOTHING


def answer(word: NightWord, rows: Sequence[Row], reasons: Sequence[str]) -> str:
    """The verdict in one or two sentences."""
    worse = [row for row in rows if row.moved == Moved.WORSE]
    if word == NightWord.REGRESSION:
        said = "; ".join(map(described, worse))
        by_code = any(row.canary is not None for row in worse)
        why = (
            "The canaries moved, so it is the code, the data or the machine, not the search."
            if by_code
            else "No canary got worse, so it is the search that changed."
        )
        return f"Worse than the baseline: {said}. {why}"
    if word == NightWord.NOT_JUDGED:
        return f"Not enough was done to judge: {'; '.join(reasons)}."
    better = [row for row in rows if row.moved == Moved.BETTER]
    said = f"No regression: of {len(rows)} comparisons with the baseline none is worse."
    return f"{said} Better: {'; '.join(map(described, better))}." if better else said


def described(row: Row) -> str:
    """`rmse of canary equal 0.9120 against 0.8061 (+0.1059, band 0.0810, worse with 8 of 8 seeds)`,
    the band being the one that decides."""
    what = f"{row.metric} of {f'canary {row.canary}' if row.canary else 'the best of the search'}"
    if row.tonight is None or row.difference is None:
        return f"{what} is no number ({row.baseline:.4f} before)"
    seeds = f", worse with {row.worse_seeds} of {row.seeds} seeds" if row.canary else ""
    return (
        f"{what} {row.tonight:.4f} against {row.baseline:.4f}"
        f" ({row.difference:+.4f}, band {row.limit:.4f}{seeds})"
    )


def _with_margin(row: Row, found: Found) -> Row:
    is_deciding = row.metric == found.spec.objective.metric
    return replace(row, margin=found.spec.answer.delta().of(row.baseline, is_deciding))


def _with_evidence(row: Row, found: Found, baseline: Baseline | None) -> Row:
    """Of a canary with values per image: the paired interval, and the scenes that moved most."""
    if row.canary is None or row.tonight is None or baseline is None:
        return row
    before, now = baseline.measured.canaries[row.canary], found.measured.canaries[row.canary]
    old = [before.samples[seed].get(row.metric, []) for seed in before.seeds]
    new = [now.samples[seed].get(row.metric, []) for seed in before.seeds]
    if not all(old) or not all(new) or before.groups != now.groups:
        return row
    goal = found.spec.objective
    smaller = comparison.smaller_is_better(row.metric, goal.metric, goal.direction == "minimize")
    pair = comparison.paired(new, old, now.groups, smaller)
    named = drift.scenes(old, new, now.groups, smaller)[:MOST_MOVED] if now.groups else []
    return replace(row, paired=pair.interval, scenes=named)
