"""Pictures: what is drawn in them, files, errors of one line. Whether they please is for eyes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from cli_each import cli_call

import whisperlite
from whisperlite.audio.vad import VadOptions
from whisperlite.errors import OptionError
from whisperlite.results import Segment, Word
from whisperlite.transcribe.windows import make_content
from whisperlite.transcribe.words import find_alignment

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from whisperlite.plots import plot_attention, plot_speech, plot_words, save

DEMO = whisperlite.demo_audio()
SECONDS = len(whisperlite.load_audio(DEMO)) / 16000


def cli(*arguments: object, **settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whisperlite", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **settings)


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_gid() == "word"]


# words


def test_every_word_stands_at_its_time(nano):
    transcript = nano.transcribe(DEMO, language="en", word_timestamps=True)
    words = [word for segment in transcript for word in segment.words]
    figure = plot_words(DEMO, transcript)
    [ax] = figure.axes[:-1]  # the last one is the colour bar
    assert labels(ax) == [word.word.strip() for word in words]
    assert [text.get_position()[0] for text in ax.texts] == [word.start for word in words]
    assert ax.get_xlim() == (0, pytest.approx(SECONDS))
    assert [labels(ax) for ax in plot_words(DEMO, model=nano, language="en").axes[:-1]] == [labels(ax)]


def test_words_are_coloured_by_probability_and_never_overlap():
    words = [Word(" uncertain", 1.0, 1.2, 0.1), Word(" sure", 1.1, 1.3, 1.0), Word(" sure", 3.0, 3.3, 1.0)]
    figure = plot_words(DEMO, words)
    ax = figure.axes[0]
    low, high, again = (text.get_bbox_patch().get_facecolor() for text in ax.texts)
    assert low[0] > low[2] and high[2] > high[0] and high == again  # red, blue
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    assert not boxes[0].overlaps(boxes[1]) and boxes[0].y0 < boxes[1].y0
    assert boxes[2].y0 == boxes[0].y0  # there is room below again


def test_rows_share_the_range_and_words_fall_into_theirs():
    words = [Word(f" w{i}", i, i + 0.5, 0.5) for i in range(6)]
    figure = plot_words(DEMO, words, start=1.0, end=5.0, seconds_per_row=2.0)
    rows = figure.axes[:-1]
    assert [ax.get_xlim() for ax in rows] == [(1, 3), (3, 5)]
    assert [labels(ax) for ax in rows] == [["w1", "w2"], ["w3", "w4"]]


def test_text_is_never_read_as_mathematics(tmp_path):
    save(plot_words(DEMO, [Word(" $x_", 1, 2, 0.5), Word(" $5$", 2, 3, 0.5)]), tmp_path / "a.png")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "give words, or a model"),
        ({"words": [], "start": 99.0}, "nothing lies between"),
        ({"words": [], "seconds_per_row": 0.0}, "at least 1"),
        ({"words": [Segment(0, 0, 0, 1, " Yes.", (1,), 0, 0, 1, 0)]}, "word_timestamps=True"),
    ],
)
def test_words_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        plot_words(DEMO, **arguments)


def test_words_of_long_audio_need_a_range():
    silence = np.zeros(16000 * 400, np.float32)
    with pytest.raises(OptionError, match="400 s are too many"):
        plot_words(silence, [])
    assert len(plot_words(silence, [], start=350).axes) == 6


# attention


def test_the_path_is_that_of_the_words(nano):
    figure = plot_attention(nano, DEMO, "Hotel one left three kilo.", language="en")
    main, *small = figure.axes
    assert len(small) == len(nano.alignment_heads)
    ticks = [label.get_text() for label in main.get_yticklabels()]
    assert ticks[0] == "\u00b7Hotel" and ticks[-1] == "end"
    seconds, rows = main.lines[0].get_data()
    assert rows[0] == 0 and rows[-1] == len(ticks) - 1 and (np.diff(rows) >= 0).all()
    # Where it enters the rows of words is where find_alignment has them begin.
    tokenizer = nano.tokenizer("en", "transcribe")
    tokens = tokenizer.encode(" Hotel one left three kilo.")
    content = make_content(whisperlite.load_audio(DEMO), 80)
    cross = nano.cross_kv(nano.encode(content.window(0, content.n_frames)[None]))
    found = find_alignment(nano._model, tokenizer, tokens, cross, content.n_frames)
    starts = seconds[np.diff(rows, prepend=-1) > 0]
    firsts = np.cumsum([0, *(len(timing.tokens) for timing in found)])[:-1]
    np.testing.assert_allclose(starts[firsts], [timing.start for timing in found])


def test_attention_transcribes_and_takes_heads(nano):
    main, *small = plot_attention(nano, DEMO, language="en", heads=2).axes
    assert len(small) == 4 and "mean of 4 heads" in main.get_title(loc="left")
    [main] = plot_attention(nano, DEMO, language="en", heads=[(3, 1)]).axes
    assert "layer 3, head 1" in main.get_title(loc="left")
    late = plot_attention(nano, DEMO, "Tango.", language="en", start=4.0).axes[0]
    assert late.get_xlim() == (4.0, pytest.approx(SECONDS, abs=0.03))


def test_attention_refused(nano):
    with pytest.raises(OptionError, match="the audio lasts"):
        plot_attention(nano, DEMO, start=60)
    with pytest.raises(OptionError, match="nothing is said"):
        plot_attention(nano, DEMO, [])


# speech


def test_spans_are_drawn_where_they_are():
    samples = np.zeros(16000 * 6, np.float32)
    samples[32000:64000] = whisperlite.load_audio(DEMO)[16000:48000]
    figure = plot_speech(samples, VadOptions(speech_pad_ms=0, min_silence_duration_ms=1000))
    wave, below = figure.axes
    [span] = wave.patches
    assert 1.9 < span.get_x() < 2.3 and 3.5 < span.get_x() + span.get_width() < 4.1
    assert max(len(line.get_xdata()) for line in below.lines) == -(-len(samples) // 512)
    assert "in 1 span" in wave.get_title(loc="left")


# files


def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    figure = plot_speech(DEMO)
    for suffix, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        save(figure, tmp_path / "new" / f"a.{suffix}")
        assert (tmp_path / "new" / f"a.{suffix}").read_bytes().startswith(magic)
    with pytest.raises(OptionError, match="ends in one of"):
        save(figure, tmp_path / "a.doc")
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save(figure, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_missing_glyphs_are_said_once(tmp_path):
    nothing_has_it = "\U0010fffd\U0010fffc"
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        save(plot_words(DEMO, [Word(f" {nothing_has_it}", 1, 2, 0.5)]), tmp_path / "a.png")
    assert len(found) == 1 and nothing_has_it in str(found[0].message)


# the command


def test_command(tmp_path):
    done = cli("plot", DEMO, "--model", "nano", "--language", "en", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "wrote demo.words.png\n")
    assert (tmp_path / "demo.words.png").read_bytes().startswith(b"\x89PNG")
    done = cli_call("plot", DEMO, "--kind", "speech", "-o", tmp_path / "s.svg")
    assert done.returncode == 0 and (tmp_path / "s.svg").is_file()
    text = ("--text", "Hotel one left three kilo.")
    done = cli_call("plot", DEMO, "--kind", "attention", "--model", "nano", "--language", "en", *text, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "demo.attention.png").is_file()


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["none.wav", "--kind", "speech"], 1, "'none.wav' does not exist"),
        ([DEMO, "--kind", "speech", "-o", "a.doc"], 2, "ends in one of"),
        ([DEMO, "--text", "Yes."], 2, "--text is for --kind attention"),
        ([DEMO, "--kind", "speech", "--start", "1"], 2, "--start is for"),
    ],
)
def test_command_refuses(arguments, code, message, tmp_path):
    done = cli_call("plot", *arguments, cwd=tmp_path)
    assert done.returncode == code and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_without_matplotlib(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), *(part for part in [os.environ.get("PYTHONPATH")] if part)])
    done = cli("plot", DEMO, "--kind", "speech", env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr == 'error: pictures need matplotlib: pip install "whisperlite[plot]"\n'
