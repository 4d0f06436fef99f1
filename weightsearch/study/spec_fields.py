"""What the tables of a study file are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Value = str | int | float | bool
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Weights = dict[str, Annotated[float, Field(ge=0)]]


class Part(BaseModel):
    """A table of a study file: frozen, and no key but the stated ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
