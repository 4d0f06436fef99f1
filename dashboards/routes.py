"""Every route of optuna-dashboard, and what may be done through it.

A route that is not in this table is refused, so a new release opens nothing by itself; a test holds
the table against the routes that the installed release registers.
"""

from __future__ import annotations

READ = frozenset(
    {
        "GET /",
        "GET /dashboard<:re:(/.*)?>",
        "GET /api/meta",
        "GET /api/studies",
        "GET /api/studies/<study_id:int>",
        "GET /api/studies/<study_id:int>/param_importances",
        "GET /api/studies/<study_id:int>/plot/<plot_type>",
        "GET /csv/<study_id:int>",
        "GET /favicon.ico",
        "GET /static/<filename:path>",
        "GET /incompatible-rdb-schema",
        "GET /artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "GET /artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
    }
)
"""Changes nothing."""

PAGES = frozenset(
    {"GET /", "GET /reports", "GET /reports/<study_id:int>", "GET /nights/<night_id:int>"}
)
"""Our own pages before it and beside it (`pages.py`): they change nothing either."""

WRITE = frozenset(
    {
        "PUT /api/studies/<study_id:int>/note",
        "PUT /api/studies/<study_id:int>/<trial_id:int>/note",
    }
)
"""With --writable only: what people add to a study, and no result depends on."""

PLANNED = "studies are planned by `weightsearch launch` and removed by `weightsearch delete`"
RECORDED = "the ledger says what a trial is and came to; the Optuna study only shows it"
UPLOADED = "files are put into the artifacts' folder by those who may write there, not by a page"
UNUSED = "this service makes no preferential studies"
ELSEWHERE = "what a study holds is sent to no language model"

REFUSED: dict[str, str] = {
    "POST /api/studies": PLANNED,
    "POST /api/studies/<study_id:int>/rename": PLANNED,
    "DELETE /api/studies/<study_id:int>": PLANNED,
    "POST /api/trials/<trial_id:int>/tell": RECORDED,
    "POST /api/trials/<trial_id:int>/user-attrs": RECORDED,
    "POST /api/studies/<study_id:int>/<trial_id:int>/skip": UNUSED,
    "POST /api/studies/<study_id:int>/preference": UNUSED,
    "PUT /api/studies/<study_id:int>/preference_feedback_component": UNUSED,
    "DELETE /api/studies/<study_id:int>/preference/<history_id>": UNUSED,
    "POST /api/studies/<study_id:int>/preference/<history_id>": UNUSED,
    "POST /api/artifacts/<study_id:int>": UPLOADED,
    "POST /api/artifacts/<study_id:int>/<trial_id:int>": UPLOADED,
    "DELETE /api/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>": UPLOADED,
    "DELETE /api/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>": UPLOADED,
    "POST /incompatible-rdb-schema": "tables are upgraded by their owner: `weightsearch migrate`",
    "POST /api/llm/trial_filter_query": ELSEWHERE,
    "POST /api/llm/generate_plotly_graph_query": ELSEWHERE,
    "POST /api/llm/re_generate_plotly_graph_query": ELSEWHERE,
}
"""To everybody, also with --writable: why."""
