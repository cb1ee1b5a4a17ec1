"""What every process of the rig needs, imported before the first is forked."""

from tests.chaos import relay, service  # noqa: F401
from undosend.spool.sqlite import _statements

_statements()
