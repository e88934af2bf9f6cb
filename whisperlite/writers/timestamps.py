"""Times as text.

In: seconds. Out: text. Knows nothing of: formats.
"""

from __future__ import annotations


def format_timestamp(seconds: float, always_hours: bool = False, decimal_mark: str = ".") -> str:
    """``MM:SS.mmm``, with ``HH:`` before it when asked for or from one hour on.

    Examples
    --------
    >>> format_timestamp(62.34), format_timestamp(3600.0)
    ('01:02.340', '01:00:00.000')
    """
    # ref: openai/whisper utils.py format_timestamp
    milliseconds = round(seconds * 1000.0)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    prefix = f"{hours:02d}:" if always_hours or hours else ""
    return f"{prefix}{minutes:02d}:{whole:02d}{decimal_mark}{milliseconds:03d}"
