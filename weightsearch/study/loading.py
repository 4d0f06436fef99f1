"""From a TOML file, or a study's name, to a StudySpec."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weightsearch.errors import ConfigError, did_you_mean
from weightsearch.runtime import validation_messages
from weightsearch.study.spec import StudySpec
from weightsearch.study.spec_fields import Part


def study_file(study: str) -> Path:
    """The file that STUDY means: a path, or the name of one in `studies/`.

    Raises ConfigError where there is none.
    """
    path = Path(study)
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise ConfigError(f"a study file must exist, but {path} does not.")
        return path
    known = study_files()
    if study not in known and (path.suffix or path.parent.name):
        beside = [str(file) for file in path.parent.glob("*.toml")]
        raise ConfigError(
            f"a study must be a TOML file or a name in studies/, but '{study}' is neither;"
            f" {did_you_mean(study, beside) if beside else 'there is no .toml file beside it.'}"
        )
    if study not in known:
        raise ConfigError(f"unknown study '{study}'; {did_you_mean(study, known)}")
    return known[study]


def study_files() -> dict[str, Path]:
    """Those in `studies/`, by name."""
    return {p.stem: p for folder in _study_folders() for p in sorted(folder.glob("*.toml"))}


def _study_folders() -> Iterator[Path]:
    package = Path(__file__).parents[1]
    for folder in (package / "studies", package.parent / "studies"):  # in the wheel; in a checkout
        if folder.is_dir():
            yield folder


def load(path: Path | str, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """The study in a TOML file, with overrides (`{"sampler.trials": 10}`) laid over it.

    Raises ConfigError, with the place, for anything that does not hold.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: must be TOML, but {error}.") from None
    for key, value in (overrides or {}).items():
        if value is None:
            continue
        part, _, name = key.partition(".")
        table = tables.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {part}: must be a table, but got {table!r}.")
        table[name] = value
    return parse(_placed(tables, path.parent), str(path))


EXTENDED = {"trials": "sampler.trials", "repeats": "answer.repeats"}


def extended(spec: StudySpec, text: str, where: str) -> StudySpec:
    """The study with what `trials=40,repeats=5` says. Raises ConfigError."""
    tables = spec.resolved()
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        if name not in EXTENDED or not number.strip().isdecimal():
            raise ConfigError(
                f"--extend must read trials=N, repeats=N, or both with a comma, but got '{text}'."
            )
        table, _, key = EXTENDED[name].partition(".")
        before = tables[table][key]
        if before is not None and int(number) < before:
            raise ConfigError(
                f"--extend must not shrink a study, but {where} has {name}={before} and got"
                f" '{part.strip()}'."
            )
        tables[table][key] = int(number)
    return parse(tables, where)


def digest_but_size(spec: StudySpec) -> str:
    """The study's digest without what `extended` changes: what a run of it trains by."""
    for where in EXTENDED.values():
        table, _, key = where.partition(".")
        part: Part = getattr(spec, table)
        least = part.model_copy(update={key: type(part).model_fields[key].default})
        spec = spec.model_copy(update={table: least})
    return spec.digest()


def _placed(tables: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The tables with their paths as seen from anywhere, not only from the file's folder."""
    placed = dict(tables)
    for part, key in (("data", "path"), ("train", "init")):
        table = tables.get(part)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            place = folder.absolute() / os.path.expanduser(table[key])
            placed[part] = {**table, key: str(place)}
    return placed


def data_path(spec: StudySpec, given: Path | None) -> Path | None:
    """Where the data lie: `--data`, else what the study file says."""
    return given or (spec.data.path if spec.data is not None else None)


def parse(tables: Mapping[str, Any], where: str) -> StudySpec:
    """The study in plain tables; raises ConfigError naming `where` and the key's place."""
    try:
        return StudySpec.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"{where}: {validation_messages.first(error, StudySpec, Part)}") from None
    except ConfigError as error:  # from names.check
        raise ConfigError(f"{where}: {error}") from None
