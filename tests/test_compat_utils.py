"""``whisper.utils`` of the compat layer: openai-whisper's files, recorded, and live where it is installed."""

from __future__ import annotations

import hashlib
import io
import json
import random

import pytest
from conftest import FIXTURES, golden_entries
from writer_cases import LAYOUTS, cases, result_of

import whisperlite.compat.openai as whisper
from whisperlite.compat.openai import utils
from whisperlite.errors import OptionError

GOLDENS = golden_entries("transcribe")
RECORDED = json.loads((FIXTURES / "writers_openai.json").read_text())["sha256_16"]
FORMATS = ("txt", "vtt", "srt", "tsv", "json")


def text_of(module, result: dict, format: str, options: dict | None = None, **named) -> str:
    file = io.StringIO()
    module.get_writer(format, ".").write_result(result, file, options, **named)
    return file.getvalue()


def plain(*texts: str) -> dict:
    return {"segments": [{"start": i, "end": i + 0.5, "text": text} for i, text in enumerate(texts)]}


def timed(*texts: str) -> dict:
    """A segment for each text, a word of half a second for each word of it."""
    result, at = plain(*texts), 0.0
    for segment in result["segments"]:
        segment["words"] = []
        for word in segment["text"].split():
            segment["words"].append({"word": f" {word}", "start": at, "end": at + 0.4})
            at += 0.5
    return result


@pytest.mark.parametrize("name", sorted({key.rsplit("/", 2)[0] for key in RECORDED}))
def test_files_as_recorded(name):
    result = result_of(GOLDENS[name]).to_dict()
    for case, format, layout in cases(GOLDENS[name]):
        by_options, by_name = text_of(utils, result, format, layout), text_of(utils, result, format, **layout)
        assert hashlib.sha256(by_options.encode()).hexdigest()[:16] == RECORDED[f"{name}/{case}"], case
        assert by_name == by_options


def test_a_writer_names_its_file_after_the_audio(tmp_path):
    result = timed("One two", "three")
    utils.get_writer("all", str(tmp_path / "new"))(result, "a/talk.one.mp3", {"max_words_per_line": 1})
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(f"talk.one.{name}" for name in FORMATS)
    assert (tmp_path / "new" / "talk.one.srt").read_text().count("-->") == 3
    assert json.loads((tmp_path / "new" / "talk.one.json").read_text()) == result
    utils.get_writer("txt", str(tmp_path))(plain("Ñ."), "b.wav")
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "Ñ.\n"


def test_a_writer_of_ones_own(tmp_path):
    class WriteLRC(whisper.utils.SubtitlesWriter):
        extension, always_include_hours, decimal_marker = "lrc", False, "."

        def write_result(self, result, file, options=None, **kwargs):
            for start, _, text in self.iterate_result(result, options, **kwargs):
                print(f"[{start[:-1]}]{text}", file=file)

    WriteLRC(str(tmp_path))(timed("One two", "three"), "song.flac", max_words_per_line=1)
    assert (tmp_path / "song.lrc").read_text() == "[00:00.00]One\n[00:00.50]two\n[00:01.00]three\n"
    with pytest.raises(NotImplementedError):
        utils.ResultWriter(".")(plain("a"), "a.wav")


def test_what_cannot_be_honoured():
    with pytest.raises(OptionError, match="'doc': give one of txt, vtt"):
        utils.get_writer("doc", ".")
    with pytest.raises(OptionError, match="highlight_words needs the times of words"):
        text_of(utils, plain("a"), "srt", {"highlight_words": True})
    with pytest.raises(OptionError, match="bogus is not an option of the vtt writer"):
        text_of(utils, plain("a"), "vtt", bogus=1)
    with pytest.raises(OptionError, match="seconds=-1"):
        utils.format_timestamp(-1)
    with pytest.raises(OptionError, match="7 is not a multiple of 2"):
        utils.exact_div(7, 2)


def test_values_of_a_command_line():
    assert utils.str2bool("True") is True and utils.str2bool("False") is False
    with pytest.raises(ValueError, match="got yes"):
        utils.str2bool("yes")
    assert utils.optional_int("None") is utils.optional_float("None") is None
    assert utils.optional_int("3") == 3 and utils.optional_float("0.5") == 0.5
    assert utils.exact_div(6, 2) == 3 and utils.make_safe("ñ") == "ñ"
    assert utils.compression_ratio("aaaa" * 50) > 5


def test_start_and_end():
    result = timed("One", "two")["segments"]
    assert (utils.get_start(result), utils.get_end(result)) == (0.0, 0.9)
    assert utils.get_start([]) is utils.get_end([]) is None
    silent = [{"start": 1.0, "end": 2.0, "words": []}]
    assert (utils.get_start(silent), utils.get_end(silent)) == (1.0, 2.0)


@pytest.mark.peer
def test_the_same_names_as_openais():
    theirs = pytest.importorskip("whisper.utils", reason="openai-whisper is not installed")
    own = {name for name, value in vars(theirs).items() if getattr(value, "__module__", "") == theirs.__name__}
    assert own == set(utils.__all__)
    for name in ("WriteTXT", "WriteVTT", "WriteSRT", "WriteTSV", "WriteJSON"):
        assert getattr(utils, name).extension == getattr(theirs, name).extension


@pytest.mark.peer
def test_the_same_text_as_openais_on_random_results():
    theirs = pytest.importorskip("whisper.utils", reason="openai-whisper is not installed")
    rng = random.Random(0)
    words = ["one", "two,", "--", "-->", "it's", "ñandú", "a\tb", "(hm)", "verylongwordindeed", "x"]
    for _ in range(200):
        texts = [" ".join(rng.choices(words, k=rng.randrange(1, 9))) for _ in range(rng.randrange(6))]
        for format in FORMATS:
            assert text_of(utils, plain(*texts), format) == text_of(theirs, plain(*texts), format)
        result = timed(*(text.replace("-->", "then") for text in texts))
        for layout in LAYOUTS.values():
            for format in ("srt", "vtt"):
                assert text_of(utils, result, format, layout) == text_of(theirs, result, format, layout)
            ours, expected = utils.WriteSRT("."), theirs.WriteSRT(".")
            assert [*ours.iterate_result(result, layout)] == [*expected.iterate_result(result, layout)]
        seconds, hours = rng.uniform(0, 9000), rng.random() < 0.5
        assert utils.format_timestamp(seconds, hours, ",") == theirs.format_timestamp(seconds, hours, ",")
