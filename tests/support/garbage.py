"""What `gc` removed and left."""

from __future__ import annotations

from typing import Any

ROOMS = {"frames": 4, "test_frames": 1, "frames_per_room": 2, "height": 48, "width": 64}


def left(found: dict[str, Any]) -> dict[str, str]:
    return {row["path"]: row["why"] for row in found["kept"]}
