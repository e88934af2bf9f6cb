"""Options of a live session: how it listens, when it commits, how it decodes.

In: flat names as keywords. Out: ``StreamOptions``, checked.
Knows nothing of: models, sources of audio, command lines.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from whisperlite.audio.vad import VadOptions, VoiceDetector
from whisperlite.decode import DecodingOptions, FallbackOptions, make_decoding_options
from whisperlite.decode.options import count, number
from whisperlite.errors import OptionError

POLICIES = ("local-agreement", "align-att")
MAX_BUFFER_SECONDS = 30.0  # what Whisper's encoder hears at once

# Speech of a live session ends sooner than that of a file, and a click begins none.
STREAM_VAD = VadOptions(min_speech_duration_ms=100, min_silence_duration_ms=500, speech_pad_ms=200)


@dataclass(frozen=True)
class AgreementOptions:
    """LocalAgreement: a word is committed once consecutive decodings agree on it.

    Attributes
    ----------
    agreement : int
        How many of them must; at least 2.
    """

    agreement: int = 2

    def __post_init__(self) -> None:
        count("agreement", self.agreement)
        if self.agreement is None or self.agreement < 2:
            raise OptionError(f"agreement={self.agreement!r}: give an integer of at least 2")


@dataclass(frozen=True)
class AlignAttOptions:
    """AlignAtt: a word is committed as soon as it looks at audio that is not the newest.

    Attributes
    ----------
    frame_threshold : int
        A token whose attention lies within this many positions (0.02 s each) of the end of the audio waits.
    rewind_threshold : int
        So does one whose attention jumps further back than this many positions.
    """

    frame_threshold: int = 25
    rewind_threshold: int = 200

    def __post_init__(self) -> None:
        for name in ("frame_threshold", "rewind_threshold"):
            count(name, getattr(self, name))
            if getattr(self, name) is None:
                raise OptionError(f"{name}=None: give an integer of at least 1")


@dataclass(frozen=True)
class BufferOptions:
    """What is decoded, and how often.

    Attributes
    ----------
    chunk_seconds : float
        New speech between two decodings.
    trim_seconds : float
        A longer buffer is cut at the end of its last committed sentence.
    max_buffer_seconds : float
        A buffer this long is cut in any case: after the last committed word, or, where nothing was committed, by
        committing all that was heard. At most 30 less a chunk.
    audio_ctx : int, "auto" or None
        Positions (0.02 s each) that the encoder hears; more where the buffer is longer. ``auto``: the buffer and
        some silence behind it, at least 10 s. None: always 30 s.
    condition_on_previous_text : bool
        Prompt with the committed text from before the buffer.
    prompt_tokens : int
        Most tokens of such a prompt.
    initial_prompt : str, sequence of int, or None
        Text as if said before the stream.
    """

    chunk_seconds: float = 0.5
    trim_seconds: float = 15.0
    max_buffer_seconds: float = 25.0
    audio_ctx: int | Literal["auto"] | None = "auto"
    condition_on_previous_text: bool = True
    prompt_tokens: int = 64
    initial_prompt: str | Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("chunk_seconds", 0.1, 5.0),
            ("trim_seconds", 1.0, MAX_BUFFER_SECONDS),
            ("max_buffer_seconds", 2.0, MAX_BUFFER_SECONDS),
        ):
            if getattr(self, name) is None:
                raise OptionError(f"{name}=None: give seconds")
            number(name, getattr(self, name), low, high)
        if not self.chunk_seconds < self.max_buffer_seconds <= MAX_BUFFER_SECONDS - self.chunk_seconds:
            raise OptionError(
                f"max_buffer_seconds={self.max_buffer_seconds:g} with chunk_seconds={self.chunk_seconds:g}: give "
                f"more than a chunk, and at most {MAX_BUFFER_SECONDS - self.chunk_seconds:g}"
            )
        if self.audio_ctx != "auto":
            count("audio_ctx", self.audio_ctx)
        count("prompt_tokens", self.prompt_tokens)
        if self.prompt_tokens is None:
            raise OptionError("prompt_tokens=None: give an integer of at least 1")


@dataclass(frozen=True)
class GateOptions:
    """Whether silence is left out, and how it is found.

    Attributes
    ----------
    vad : bool, str, Path or VoiceDetector
        True is the default detector; a name, a path or a detector as ``vad_model`` of ``transcribe``; False decodes
        everything.
    vad_parameters : VadOptions or mapping
        A mapping changes ``STREAM_VAD``: speech ends after 500 ms of silence and is padded by 200 ms.
    """

    vad: bool | str | os.PathLike[str] | VoiceDetector = True
    vad_parameters: VadOptions | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.vad is None:
            raise OptionError("vad=None: give True, False, a name, a path or a detector")
        if self.vad is False and self.vad_parameters is not None:
            raise OptionError("vad_parameters with vad=False: leave one of them out")
        if self.options().max_speech_duration_s != float("inf"):
            raise OptionError("max_speech_duration_s is not for streams; max_buffer_seconds bounds what is decoded")

    def options(self) -> VadOptions:
        """``vad_parameters`` as a record."""
        given = self.vad_parameters
        if isinstance(given, VadOptions):
            return given
        if given is None:
            return STREAM_VAD
        VadOptions.of(given)  # refuses unknown names
        return replace(STREAM_VAD, **given)


@dataclass(frozen=True)
class StreamOptions:
    """Everything a session is told, one record per stage.

    ``trust`` has the thresholds of ``FallbackOptions``; nothing hotter is tried. ``decoding`` is without
    timestamps: the times of words come from attention.
    """

    policy: AgreementOptions | AlignAttOptions = field(default_factory=AgreementOptions)
    buffer: BufferOptions = field(default_factory=BufferOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    trust: FallbackOptions = field(default_factory=lambda: FallbackOptions(temperatures=(0.0,)))
    decoding: DecodingOptions = field(default_factory=lambda: DecodingOptions(without_timestamps=True))
    alignment_heads: int | Sequence[tuple[int, int]] | None = None


_TRUST = ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
_DECODING = (
    "task",
    "language",
    "beam_size",
    "patience",
    "length_penalty",
    "suppress_tokens",
    "suppress_blank",
    "suppress_regex",
    "logit_filters",
)


def _names(record: Any) -> tuple[str, ...]:
    return tuple(item.name for item in fields(record))


STREAM_OPTION_NAMES = (
    *_names(AgreementOptions),
    *_names(AlignAttOptions),
    *_names(BufferOptions),
    *_names(GateOptions),
    *_TRUST,
    *_DECODING,
    "alignment_heads",
)


def make_stream_options(policy: str = "local-agreement", **given: Any) -> StreamOptions:
    """Sort flat option names into the records of their stages.

    Parameters
    ----------
    policy : str
        ``local-agreement`` or ``align-att``.
    **given
        Any of ``STREAM_OPTION_NAMES``.

    Raises
    ------
    OptionError
        An unknown name, one of the other policy, or a value that cannot be honoured.
    """
    if policy not in POLICIES:
        raise OptionError(f"policy={policy!r}: give {' or '.join(POLICIES)}")
    for name in given:
        if name not in STREAM_OPTION_NAMES:
            nearest = difflib.get_close_matches(name, STREAM_OPTION_NAMES, n=1, cutoff=0.6)
            hint = f"did you mean {nearest[0]}?" if nearest else f"give one of {', '.join(STREAM_OPTION_NAMES)}"
            raise OptionError(f"{name} is not an option of a stream; {hint}")
    mine, other = (
        (AgreementOptions, AlignAttOptions) if policy == POLICIES[0] else (AlignAttOptions, AgreementOptions)
    )
    for name in _names(other):
        if name in given:
            raise OptionError(f"{name} is not an option of policy {policy!r}; leave it out")
    if policy == "align-att" and given.get("beam_size") is not None:
        raise OptionError(
            f"beam_size={given['beam_size']} with policy 'align-att': it reads one text; leave it out"
        )

    def part(record: Any) -> Any:
        return record(**{name: given[name] for name in _names(record) if name in given})

    decoding = make_decoding_options(
        **{name: given[name] for name in _DECODING if name in given}, without_timestamps=True
    )
    return StreamOptions(
        policy=part(mine),
        buffer=part(BufferOptions),
        gate=part(GateOptions),
        trust=FallbackOptions(temperatures=(0.0,), **{name: given[name] for name in _TRUST if name in given}),
        decoding=decoding,
        alignment_heads=given.get("alignment_heads"),
    )
