"""Subtitles and lyrics: srt, vtt, ass, lrc.

In: segments, ``WriterOptions``. Out: one string.
Knows nothing of: files, models.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence

from whisperlite.results import Segment
from whisperlite.writers.cues import Cue, cues, speaker_prefix
from whisperlite.writers.options import WriterOptions
from whisperlite.writers.timestamps import format_timestamp

Segments = Sequence[Segment]


def render_srt(segments: Segments, options: WriterOptions) -> str:
    """SubRip."""
    lines = []
    found = shown(cues(segments, options, prefixed=True), options, _srt_time, without_arrows)
    for number, (start, end, text, speaker) in enumerate(found, start=1):
        lines.append(f"{number}\n{start} --> {end}\n{speaker_prefix(speaker)}{text}\n\n")
    return "".join(lines)


def render_vtt(segments: Segments, options: WriterOptions) -> str:
    """WebVTT; a speaker is a voice tag."""
    lines = []
    for start, end, text, speaker in shown(cues(segments, options), options, format_timestamp, _vtt_text):
        voice = f"<v {_vtt_text(speaker)}>" if speaker else ""
        lines.append(f"{start} --> {end}\n{voice}{text}\n\n")
    return "WEBVTT\n\n" + "".join(lines)


def shown(
    found: list[Cue], options: WriterOptions, time: Callable[[float], str], escape: Callable[[str], str]
) -> Iterator[tuple[str, str, str, str | None]]:
    """Start, end, text and speaker of what is shown: cues or, with ``highlight_words``, a cue for each word."""
    for cue in found:
        start, end = time(cue.start), time(cue.end)
        if not options.highlight_words:
            yield start, end, escape(cue.text), cue.speaker
            continue
        texts = [escape(word.word) for word in cue.words]
        last = start
        for i, word in enumerate(cue.words):
            start, end = time(word.start), time(word.end)
            if last != start:
                yield last, start, "".join(texts), cue.speaker
            underlined = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", texts[i])
            yield start, end, "".join([*texts[:i], underlined, *texts[i + 1 :]]), cue.speaker
            last = end


def _srt_time(seconds: float) -> str:
    return format_timestamp(seconds, always_hours=True, decimal_mark=",")


def without_arrows(text: str) -> str:
    """Text that is not misread as a line of times."""
    return text.replace("-->", "->")


def _vtt_text(text: str) -> str:
    """``<`` begins a tag, and ``&lt;`` stands for it; any other ``&`` that would be misread is escaped."""
    if html.unescape(text) != text:
        text = text.replace("&", "&amp;")
    return without_arrows(text).replace("<", "&lt;")


_ASS_HEAD = """[Script Info]
ScriptType: v4.00+
PlayResX: 1280
PlayResY: 720
WrapStyle: 0
ScaledBorderAndShadow: yes

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, \
MarginV, Encoding
"""
_ASS_EVENTS = "\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
# &HAABBGGRR: white, yellow, cyan, green, orange, pink. A word not yet sung is grey.
_ASS_COLOURS = ("&H00FFFFFF", "&H0000E6FF", "&H00FFE600", "&H0066FF66", "&H003399FF", "&H00CC99FF")
_ASS_WAITING = "&H00A0A0A0"


def render_ass(segments: Segments, options: WriterOptions) -> str:
    """Advanced SubStation Alpha; karaoke where the times of words are known, a style for each speaker."""
    found = [cue for cue in cues(segments, options) if cue.text]
    speakers = list(dict.fromkeys(cue.speaker for cue in found)) or [None]
    styles = [
        f"Style: {_ass_name(speaker) or 'Default'},Arial,48,{_ASS_COLOURS[i % len(_ASS_COLOURS)]},{_ASS_WAITING},"
        "&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,2,1,2,60,60,40,1\n"
        for i, speaker in enumerate(speakers)
    ]
    events = [
        f"Dialogue: 0,{_ass_time(cue.start)},{_ass_time(cue.end)},{_ass_name(cue.speaker) or 'Default'},"
        f"{_ass_name(cue.speaker)},0,0,0,,{_ass_karaoke(cue) if cue.words else _ass_text(cue.text)}\n"
        for cue in found
    ]
    return _ASS_HEAD + "".join(styles) + _ASS_EVENTS + "".join(events)


def _ass_karaoke(cue: Cue) -> str:
    r"""Each word after the hundredths of a second it takes; ``{\k20}`` without text is a pause."""
    parts = []
    at = _centiseconds(cue.start)
    for word in cue.words:
        start, end = _centiseconds(word.start), _centiseconds(word.end)
        if start > at:
            parts.append(f"{{\\k{start - at}}}")
        parts.append(f"{{\\k{end - start}}}{_ass_text(word.word)}")
        at = end
    return "".join(parts)


def _ass_text(text: str) -> str:
    r"""Braces would hold a command, and a backslash with a letter after it may be one; ``\N`` breaks the line."""
    text = text.replace("{", "(").replace("}", ")").replace("\\", "\\\u2060")
    return text.replace("\n", "\\N")


def _ass_name(speaker: str | None) -> str:
    return (speaker or "").replace(",", ";")


def _ass_time(seconds: float) -> str:
    minutes, centiseconds = divmod(_centiseconds(seconds), 6000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{centiseconds // 100:02d}.{centiseconds % 100:02d}"


def render_lrc(segments: Segments, options: WriterOptions) -> str:
    """Lyrics; with ``highlight_words`` each word has its time, as the enhanced form of the format has it."""
    lines = []
    for cue in cues(segments, options, prefixed=True):
        if not cue.text:
            continue
        text = cue.text.replace("\n", " ")
        if options.highlight_words:
            words = [f"<{_lrc_time(word.start)}> {word.word.strip()} " for word in cue.words if word.word.strip()]
            text = f"{''.join(words)}<{_lrc_time(cue.end)}>"
        lines.append(f"[{_lrc_time(cue.start)}]{speaker_prefix(cue.speaker)}{text}\n")
    return "[re:whisperlite]\n" + "".join(lines)


def _lrc_time(seconds: float) -> str:
    """Minutes go on past 59: there are no hours."""
    minutes, centiseconds = divmod(_centiseconds(seconds), 6000)
    return f"{minutes:02d}:{centiseconds // 100:02d}.{centiseconds % 100:02d}"


def _centiseconds(seconds: float) -> int:
    return round(seconds * 100)
