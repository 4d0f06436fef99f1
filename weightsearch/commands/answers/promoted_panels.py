"""A promoted network's pictures for the dashboard, drawn in a process of its own.

    python -m weightsearch.commands.answers.promoted_panels STUDY DEVICE [DATA]

Drawing runs the network: with torch a process takes 0.7 GB, and the launcher, which starts this one
(commands/launch.py), is to stay small beside its workers.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from weightsearch.api import report_pages
from weightsearch.runtime import safe_text
from weightsearch.runtime.home import home_folder
from weightsearch.store.connection.database import open_database


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    safe_text.guard()
    name, device, *place = sys.argv[1:]
    here = report_pages.Here(home_folder(), Path(place[0]) if place else None, device)
    try:
        report_pages.show_pictures(open_database(None, here.home), name, here)
    except Exception as error:
        logging.getLogger(__name__).warning("no pictures for the dashboard: %s", error)


if __name__ == "__main__":
    main()
