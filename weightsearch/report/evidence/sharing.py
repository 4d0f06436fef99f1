"""What the ranked runs of a study with [share] have in common, and the pilot that allowed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select

from weightsearch.store.ledger import looked
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import points
from weightsearch.store.tables.states import PointState, Rung
from weightsearch.study.looks import pilot
from weightsearch.study.looks.decision import Pilot
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.share_spec import Form


@dataclass(frozen=True)
class Sharing:
    """Of one study."""

    kind: str
    """Of [share]."""
    pilot: Pilot | None
    """None until it is judged; runs from scratch are ranked until then."""
    told: str
    """What the pilot said."""
    ranked: str
    """The form of the runs that are ranked."""
    epochs: int
    """Trained by the runs that are done, in every form."""
    from_scratch: int
    """That the configurations which are ranked would take from scratch, with the same repeats."""

    def sentences(self) -> list[str]:
        found = [self.told]
        if self.pilot is not None and self.pilot.shared:
            cost = f"{self.epochs} epochs were trained, pilot included"
            if self.from_scratch:
                cost += f": {self.epochs / self.from_scratch:.2f} of what this takes from scratch"
            found.append(f"ranked are {self.ranked}, which compare with each other alone; {cost}")
        return found

    def to_json(self) -> dict[str, Any]:
        stored = None
        if self.pilot is not None:
            stored = {
                "shared": self.pilot.shared,
                "agreements": [vars(one) for one in self.pilot.agreements],
                "failed": list(self.pilot.failed),
            }
        return vars(self) | {"pilot": stored, "sentences": self.sentences()}


def sharing(engine: Engine, study: Study) -> Sharing | None:
    """What the ledger holds of it; None of a study without [share]."""
    spec = study.spec
    if spec.share.kind == "none":
        return None
    with engine.connect() as connection:
        decisions = looked.taken(connection, study)
        anew = points.c.result["shared"]["trunk_anew"].as_boolean()
        rows = connection.execute(
            select(points.c.stage, func.count(), func.count().filter(anew))
            .where(points.c.study_id == study.id, points.c.rung == Rung.SEARCH)
            .where(points.c.state == PointState.DONE)
            .group_by(points.c.stage)
        ).all()
    counts: dict[int, int] = {row[0]: row[1] for row in rows}
    again = sum(row[2] for row in rows) * spec.share.trunk_epochs(spec.train.epochs)
    judged = next((d for d in decisions if d.pilot is not None), None)
    told = "the pilot is not judged yet: its runs from scratch are ranked"
    found = pilot.outcome(decisions)
    form = Form.SHARED if found is not None and found.shared else Form.SCRATCH
    return Sharing(
        kind=spec.share.kind,
        pilot=found,
        told=told if judged is None else pilot.told(spec.share, judged),
        ranked=described(spec, form),
        epochs=again + sum(n * _epochs(spec, Form(stage)) for stage, n in counts.items()),
        from_scratch=counts.get(form, 0) * spec.train.epochs,
    )


def described(spec: StudySpec, form: Form) -> str:
    """`runs that fork from a trunk after 2 of 5 epochs`."""
    if form == Form.SCRATCH:
        return "runs from scratch"
    if spec.share.kind == "frozen":
        return "runs with a frozen encoder"
    trunk = spec.share.trunk_epochs(spec.train.epochs)
    return f"runs that fork from a trunk after {trunk} of {spec.train.epochs} epochs"


def _epochs(spec: StudySpec, form: Form) -> int:
    trunk = spec.share.trunk_epochs(spec.train.epochs)
    if form == Form.TRUNK:
        return trunk
    return spec.train.epochs - (trunk if form == Form.SHARED else 0)
