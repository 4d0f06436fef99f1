"""`python -m weightsearch`."""

from weightsearch.runtime import child_python

child_python.leave_current_folder()  # before anything else is imported

from weightsearch.commands.main import main  # noqa: E402

main()
