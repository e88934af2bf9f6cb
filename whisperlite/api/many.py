"""Many audios in a batch, their transcripts in order.

In: audios, a way to prepare one, a way through the loop. Out: transcripts, or errors in their place.
Knows nothing of: models, options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from whisperlite.api.prepare import Prepared
from whisperlite.audio import AudioSource
from whisperlite.errors import OptionError, WhisperliteError
from whisperlite.results import Window
from whisperlite.transcribe import Transcript
from whisperlite.transcribe.jobs import Job


def in_order(
    audios: Iterable[AudioSource],
    prepare: Callable[[AudioSource], Prepared],
    run: Callable[[Iterator[Job]], Iterable[tuple[Job, Window | None]]],
    return_exceptions: bool,
) -> Iterator[Transcript | WhisperliteError]:
    """Transcripts in the order of the audios, whatever order their jobs end in.

    Parameters
    ----------
    audios : iterable
    prepare : callable
        Called for an audio when there is room for it.
    run : callable
        Takes jobs through the loop: yields each window with its job, and None after the last one of a job.
    return_exceptions : bool
        Whether the error of an audio that cannot be read stands in its place, or is raised there.
    """
    order: list[Prepared | WhisperliteError] = []
    windows: dict[Job, list[Window]] = {}
    ended: set[Job] = set()

    def jobs() -> Iterator[Job]:
        for audio in audios:
            try:
                prepared = prepare(audio)
            except OptionError:
                raise
            except WhisperliteError as error:
                order.append(error)
                continue
            order.append(prepared)
            windows[prepared.job] = []
            yield prepared.job

    def ready() -> Iterator[Transcript | WhisperliteError]:
        while order:
            first = order[0]
            if isinstance(first, WhisperliteError):
                if not return_exceptions:
                    raise first
                yield first
            elif first.job in ended:
                yield first.transcript(iter(windows.pop(first.job)))
            else:
                return
            del order[0]

    for job, window in run(jobs()):
        if window is None:
            ended.add(job)
            yield from ready()
        else:
            windows[job].append(window)
    yield from ready()
