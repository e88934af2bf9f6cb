"""The exception tree.

In: nothing. Out: one class per kind of failure a caller may want to tell apart.
Knows nothing of: where an error is raised, or how it is shown.

Every message is one line and names the thing, the value, the limit and the next move.
"""

from __future__ import annotations


class WhisperliteError(Exception):
    """Base of every error whisperlite raises on purpose."""


class OptionError(WhisperliteError, ValueError):
    """An option has a value that cannot be honoured, or two options contradict each other."""


class AudioError(WhisperliteError):
    """Audio cannot be read, decoded or used."""


class CheckpointError(WhisperliteError):
    """A model file or folder is missing, damaged or not a Whisper model."""


class TokenizerError(WhisperliteError):
    """A vocabulary is missing or does not fit the model."""


class GraphError(WhisperliteError):
    """A graph refuses a node: the message names node, slot, expected and given fact."""


class BackendError(WhisperliteError):
    """A plan cannot be executed: no kernel for a fact, or an input that does not fit."""


class CheckFailedError(BackendError):
    """Shadow execution (``WHISPERLITE_CHECK=1``) found a node whose two backends differ."""
