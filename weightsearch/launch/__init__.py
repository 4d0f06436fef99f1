"""Takes a study from plan to promotion, and starts its workers; never sees a trial itself.

Called, it is `weightsearch.launch`, the function of weightsearch/api/launching.py.
"""

from weightsearch.runtime.callable_room import make_callable

make_callable(__name__, "weightsearch.api.launching:launch")
