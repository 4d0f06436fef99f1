"""What a study asks: its file, search space and plan, and the contract of an objective.

Called, it is `weightsearch.study`, the function of weightsearch/api/study_view.py.
"""

from weightsearch.runtime.callable_room import make_callable

make_callable(__name__, "weightsearch.api.study_view:study")
