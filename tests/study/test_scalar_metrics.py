"""What an objective may yield as a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from weightsearch.errors import ObjectiveError
from weightsearch.study import objective_contract


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.float16(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)],
    ids=repr,
)
def test_a_scalar_of_numpy_or_torch_is_a_number(value: Any) -> None:
    found = objective_contract.summarise({"rmse": value})
    assert (found.metrics, found.samples) == ({"rmse": 0.5}, {})
    assert type(found.metrics["rmse"]) is float
    errors: Any = np.array([0.25, 0.75], np.float32)
    per_image = objective_contract.summarise({"rmse": errors})
    assert (per_image.metrics["rmse"], per_image.samples["rmse"]) == (0.5, [0.25, 0.75])


@pytest.mark.parametrize("value", ["0.5 m", None, np.array("text"), []], ids=repr)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(ObjectiveError, match="must yield numbers"):
        objective_contract.summarise({"rmse": value})
