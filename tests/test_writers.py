"""Output formats: equal to openai-whisper's where it has them; every word kept, times in order, in the others."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import FIXTURES, golden_entries
from hypothesis import given
from hypothesis import strategies as st
from writer_cases import LAYOUTS, Result, cases, result_of

from whisperlite.errors import OptionError
from whisperlite.results import Alternatives, Attempt, Segment, Span, Window, Word
from whisperlite.transcribe import SpeakerTranscript, Transcript
from whisperlite.writers import (
    FORMATS,
    SUFFIXES,
    WriterOptions,
    output_path,
    output_stems,
    render,
    without_non_speech,
)
from whisperlite.writers.cues import cues

GOLDENS = golden_entries("transcribe")
RECORDED = json.loads((FIXTURES / "writers_openai.json").read_text())["sha256_16"]


def segment(start: float, end: float, text: str, words: tuple[Word, ...] | None = None, **more) -> Segment:
    return Segment(0, 0, start, end, text, (1, 2), 0.0, -0.1, 1.0, 0.0, words, **more)


def timed(*words: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(word, start, end, 0.9) for word, start, end in words)


# against openai-whisper


def test_every_committed_golden_is_recorded():
    committed = json.loads((FIXTURES / "openai_whisper.json").read_text())["transcribe"]
    assert {f"{name}/{case}" for name, golden in committed.items() for case, *_ in cases(golden)} == set(RECORDED)
    assert len(RECORDED) > 300


@pytest.mark.parametrize("name", sorted({key.rsplit("/", 2)[0] for key in RECORDED}))
def test_openais_formats_as_recorded(name):
    golden = GOLDENS[name]
    for case, format, layout in cases(golden):
        text = render(result_of(golden), [format], WriterOptions(**layout))[format]
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == RECORDED[f"{name}/{case}"], case


@pytest.mark.peer
@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_openais_formats_live(name):
    pytest.importorskip("whisper.utils", reason="openai-whisper is not installed")
    from fixtures.make_writers import written

    golden = GOLDENS[name]
    for case, format, layout in cases(golden):
        text = render(result_of(golden), [format], WriterOptions(**layout))[format]
        assert text == written(golden, format, layout), case


# any segments: an independent parser finds every word, and times in order

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs", "Cf")), min_size=1, max_size=12)
PLAIN = TEXT.filter(lambda text: not set(text) & set("{}\\<>&") and "--" not in text)


@st.composite
def results(draw, words=PLAIN, speakers=(None,), with_words=True):
    at = 0.0
    found = Result()
    for _ in range(draw(st.integers(0, 5))):
        own = []
        for _ in range(draw(st.integers(1, 6))):
            # Words may overlap and stand still, as alignment may have it.
            start = max(0.0, at + draw(st.integers(-30, 400)) / 100)
            at = start + draw(st.integers(0, 200)) / 100
            own.append((" " + draw(words), start, at))
        who = draw(st.sampled_from(speakers))
        joined = "".join(word for word, *_ in own)
        found.append(segment(own[0][1], at, joined, timed(*own) if with_words else None, speaker=who))
    return found


LAYOUT = st.sampled_from(list(LAYOUTS))


def parsed(text: str, format: str):
    pysubs2 = pytest.importorskip("pysubs2", reason="pysubs2 is not installed")
    return list(pysubs2.SSAFile.from_string(text, format_=format))


def said(result: Result) -> list[str]:
    return "".join(one.text for one in result).split()


@pytest.mark.parametrize("format", ["srt", "vtt", "ass"])
@given(result=results(), layout=LAYOUT)
def test_subtitles_keep_every_word(format, result, layout):
    options = WriterOptions(**LAYOUTS[layout])
    events = parsed(render(result, [format], options)[format], format)
    assert all(event.end >= event.start for event in events)
    assert all(a.end <= b.start and a.start <= b.start for a, b in pairwise(events))
    shown = [event.plaintext.split() for event in events]
    if options.highlight_words and format != "ass":
        text = render(result, [format], options)[format]
        underlined = re.findall(r"<u>(.*?)</u>", html.unescape(text))
        assert " ".join(underlined).split() == said(result)
    else:
        assert [word for words in shown for word in words] == said(result)


@given(result=results(), layout=LAYOUT)
def test_cues_keep_to_their_limits(result, layout):
    options = WriterOptions(**LAYOUTS[layout])
    found = cues(result, options)
    for cue in found:
        lines = cue.text.split("\n")
        if options.max_line_width is not None:
            assert all(len(line) <= options.max_line_width or " " not in line for line in lines)
        if options.max_line_count is not None:
            assert len(lines) <= options.max_line_count
        if options.max_words_per_line is not None:
            assert len(cue.words) <= options.max_words_per_line
    whole = Counter(word.word.strip() for one in result for word in one.words)
    assert Counter(word.word.strip() for cue in found for word in cue.words) == whole


@given(result=results(speakers=("Ann", "Bob")), layout=LAYOUT)
def test_a_cue_has_one_speaker(result, layout):
    found = cues(result, WriterOptions(**LAYOUTS[layout]), prefixed=True)
    assert [cue.start for cue in found] == sorted(cue.start for cue in found)
    for who in ("Ann", "Bob"):
        own = [cue for cue in found if cue.speaker == who]
        assert all(a.end <= b.start for a, b in pairwise(own))
        words = " ".join(cue.text for cue in own).split()
        assert words == said([one for one in result if one.speaker == who])


@given(result=results(words=TEXT, with_words=False))
def test_whole_segments_survive_any_text(result):
    texts = render(result, FORMATS)
    blocks = texts["srt"].split("\n\n")[:-1]
    assert len(blocks) == len(result)
    for block, one in zip(blocks, result, strict=True):
        assert block.split("\n")[2:] == [one.text.strip().replace("-->", "->")]
    vtt = [block.split("\n")[1] for block in texts["vtt"].split("\n\n")[1:-1]]
    assert [html.unescape(text) for text in vtt] == [one.text.strip().replace("-->", "->") for one in result]
    assert not any("<" in text for text in vtt)
    rows = list(csv.reader(texts["csv"].splitlines()))
    assert [row[2] for row in rows[1:]] == [one.text.strip() for one in result]
    labels = [line.split("\t") for line in texts["audacity"].splitlines()]
    assert [(float(start), float(end), text) for start, end, text in labels] == [
        (pytest.approx(one.start), pytest.approx(one.end), one.text.strip()) for one in result
    ]


# the notation of each format

HELLO = segment(0.5, 2.0, " Hello there.", timed((" Hello", 0.5, 1.0), (" there.", 1.25, 2.0)))
LATE = segment(3725.0, 3726.5, " <b> {x} C:\\N & &lt;", None)


def test_lrc():
    assert render([HELLO], ["lrc"])["lrc"] == "[re:whisperlite]\n[00:00.50]Hello there.\n"
    assert render([LATE], ["lrc"])["lrc"].endswith("[62:05.00]<b> {x} C:\\N & &lt;\n")
    enhanced = render([HELLO], ["lrc"], WriterOptions(highlight_words=True))["lrc"]
    assert enhanced.endswith("[00:00.50]<00:00.50> Hello <00:01.25> there. <00:02.00>\n")


def test_ass():
    text = render([HELLO, segment(2, 3, " Bye.", timed((" Bye.", 2, 3)), speaker="Bob, junior")], ["ass"])["ass"]
    lines = [line for line in text.splitlines() if line.startswith("Dialogue")]
    assert lines == [
        "Dialogue: 0,0:00:00.50,0:00:02.00,Default,,0,0,0,,{\\k50}Hello{\\k25}{\\k75} there.",
        "Dialogue: 0,0:00:02.00,0:00:03.00,Bob; junior,Bob; junior,0,0,0,,{\\k100}Bye.",
    ]
    assert text.count("\nStyle: ") == 2
    assert "(x) C:\\\u2060N" in render([LATE], ["ass"])["ass"]
    broken = render([HELLO], ["ass"], WriterOptions(max_line_width=5))["ass"]
    assert "{\\k50}Hello{\\k25}{\\k75}\\Nthere." in broken


def test_vtt_escapes_what_would_be_read_as_markup():
    vtt = render([segment(0, 1, " <i> &lt; AT&T a-->b", None, speaker="A<b")], ["vtt"])["vtt"]
    assert vtt == "WEBVTT\n\n00:00.000 --> 00:01.000\n<v A&lt;b>&lt;i> &amp;lt; AT&amp;T a->b\n\n"
    assert "AT&T" in render([segment(0, 1, " AT&T")], ["vtt"])["vtt"]


def test_speakers_in_every_format():
    result = Result([segment(0, 1.25, " Hi, you.", speaker="Ann"), segment(1, 2, " Yes.", speaker="Bob")])
    texts = render(result, FORMATS)
    assert texts["txt"] == "Ann: Hi, you.\nBob: Yes.\n"
    assert texts["srt"].startswith("1\n00:00:00,000 --> 00:00:01,250\nAnn: Hi, you.\n\n2\n00:00:01,000 --> ")
    assert "<v Bob>Yes." in texts["vtt"] and "[00:01.00]Bob: Yes." in texts["lrc"]
    assert texts["csv"] == 'start,end,speaker,text\n0,1250,Ann,"Hi, you."\n1000,2000,Bob,Yes.\n'
    assert texts["tsv"].splitlines()[1] == "0\t1250\tAnn: Hi, you."
    assert texts["audacity"] == "0.000000\t1.250000\tAnn: Hi, you.\n1.000000\t2.000000\tBob: Yes.\n"
    assert [one["speaker"] for one in json.loads(texts["json"])["segments"]] == ["Ann", "Bob"]


def test_audacity_labels_words():
    assert render([HELLO], ["audacity"])["audacity"] == "0.500000\t1.000000\tHello\n1.250000\t2.000000\tthere.\n"


# marks that are not speech


def hidden(text: str, *words: tuple[str, float, float]) -> list[Segment]:
    return list(without_non_speech([segment(0, 1, text, timed(*words) or None)]))


@pytest.mark.parametrize(
    "text", [" [BLANK_AUDIO]", " (laughs).", " *music*", " ♪♪", " [Music] (applause)", "【音楽】"]
)
def test_segments_of_marks_are_hidden(text):
    assert hidden(text) == []


def test_marks_within_text_are_hidden():
    assert [one.text for one in hidden(" Well [coughs] yes.")] == [" Well yes."]
    assert [one.text for one in hidden(" ♪ La la ♪")] == [" La la"]
    assert [one.text for one in hidden(" 2 * 3 * 4 is 24.")] == [" 2 * 3 * 4 is 24."]
    [one] = hidden(
        " Well [loud noise], yes.",
        (" Well", 0, 0.1),
        (" [loud", 0.1, 0.4),
        (" noise],", 0.4, 0.5),
        (" yes.", 0.5, 1),
    )
    assert [word.word for word in one.words] == [" Well", " yes."]


def test_hiding_leaves_json_alone():
    result = Result([segment(0, 1, " [Music]"), segment(1, 2, " Yes.")])
    texts = render(result, FORMATS, WriterOptions(hide_non_speech=True))
    for name, text in texts.items():
        assert ("Music" in text) == name.startswith("json"), name


# options


@pytest.mark.parametrize(
    "given_options, message",
    [
        ({"max_line_width": 0}, "max_line_width=0"),
        ({"max_words_per_line": True}, "max_words_per_line=True"),
        ({"max_line_count": 2}, "without max_line_width"),
        ({"max_line_count": 2, "max_line_width": 9, "max_words_per_line": 2}, "with max_line_count"),
    ],
)
def test_options_without_effect_are_refused(given_options, message):
    with pytest.raises(OptionError, match=message):
        WriterOptions(**given_options)


def test_word_options_need_words():
    with pytest.raises(OptionError, match="max_words_per_line needs the times of words"):
        render([segment(0, 1, " Yes.")], ["srt"], WriterOptions(max_words_per_line=2))
    with pytest.raises(OptionError, match="'doc': give one of txt, "):
        render([], ["doc"])


# json-full


def attempt(verdict: str) -> Attempt:
    return Attempt(0.0, -0.5, 1.2, 0.01, verdict)


def transcript(*segments: Segment, duration: float = 9.0) -> Transcript:
    tried = (attempt("rejected: compression_ratio"), attempt("accepted"))
    span = Span(0.0, duration, "transcribed")
    window = Window(0, 0.0, duration, "transcribed", tried, segments, 900, (span,), "en")
    names = {1: " one", 2: " two"}
    return Transcript(iter([window]), lambda ids: "".join(names[i] for i in ids), "en", duration, {"en": 1.0})


def test_json_full_tells_the_record():
    alternatives = (Alternatives(1, -0.5, 0.1, (1, 2), (-0.5, -1.0)), Alternatives(2, 0.0, 0.0, (), ()))
    one = segment(0, 2, " one two", HELLO.words, attempts=(attempt("accepted"),), alternatives=alternatives)
    plain = transcript(one)
    full = json.loads(render(plain, ["json-full"])["json-full"])
    openai = json.loads(render(plain, ["json"])["json"])
    assert {name: full[name] for name in ("text", "language")} == {
        name: openai[name] for name in ("text", "language")
    }
    [told] = full["segments"]
    assert told["attempts"][0]["verdict"] == "accepted"
    first, second = told["token_probabilities"]
    assert first["text"] == " one" and first["probability"] == pytest.approx(0.6065, abs=1e-4)
    assert first["alternative_texts"] == [" one", " two"] and second["logprob"] == 0.0
    assert full["duration"] == 9.0 and full["language_probs"] == {"en": 1.0}
    assert [a["verdict"] for a in full["windows"][0]["attempts"]] == ["rejected: compression_ratio", "accepted"]
    assert full["account"] == [{"start": 0.0, "end": 9.0, "kind": "transcribed", "reason": ""}]


def test_json_full_without_alternatives_has_the_text_of_tokens():
    full = json.loads(render(transcript(segment(0, 2, " one two")), ["json-full"])["json-full"])
    assert full["segments"][0]["token_probabilities"] == [
        {"token": 1, "text": " one"},
        {"token": 2, "text": " two"},
    ]


def test_json_full_of_speakers():
    both = SpeakerTranscript([transcript(segment(0, 2, " one")), transcript(segment(1, 2, " two"), duration=8.0)])
    full = json.loads(render(both, ["json-full"])["json-full"])
    assert [(one["id"], one["speaker"]) for one in full["segments"]] == [(0, "Speaker 1"), (1, "Speaker 2")]
    assert [(one["speaker"], one["duration"]) for one in full["channels"]] == [
        ("Speaker 1", 9.0),
        ("Speaker 2", 8.0),
    ]
    assert full["duration"] == 9.0


# speakers


def test_speakers_are_merged_by_time():
    ann = transcript(segment(0, 2, " A."), segment(2, 2, ""), segment(5, 6, " C."), segment(6, 7, " D."))
    bob = transcript(segment(1, 3, " B."))
    both = SpeakerTranscript([ann, bob], ["Ann", "Bob"])
    assert [(one.id, one.speaker, one.text) for one in both] == [
        (0, "Ann", " A."), (1, "Bob", " B."), (2, "Ann", " C."), (3, "Ann", " D."),
    ]  # fmt: skip
    assert both.text == "Ann: A.\nBob: B.\nAnn: C. D."
    with pytest.raises(OptionError, match="give 2 different names"):
        SpeakerTranscript([ann, bob], ["Ann", "Ann"])


# files


def test_no_two_inputs_share_a_file():
    inputs = ["a.wav", "a.labels.wav", "a.full.wav", "x/A.FULL.mp3", "b.labels", "b.wav", "b", "A"]
    stems = output_stems(inputs)
    paths = [str(output_path(Path(), stem, name)).casefold() for stem in stems for name in FORMATS]
    assert len(paths) == len(set(paths)) == len(inputs) * len(FORMATS)
    assert output_path(Path("out"), "a", "audacity") == Path("out/a.labels.txt")
    assert set(SUFFIXES) == set(FORMATS)
