"""The figures of the benchmarks on texts worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks.audio_ctx import edits
from benchmarks.word_errors import errors, plain, row, starts, table


def test_words_that_both_have_are_compared():
    said = [("one", 0.0), ("two", 1.0), ("three", 2.0)]
    heard = [("one", 0.1), ("four", 0.9), ("three", 2.5)]
    assert errors(said, heard) == [pytest.approx(0.1), pytest.approx(0.5)]
    assert errors(said, []) == []


def test_plain_words():
    assert [plain(word) for word in (" One.", " x-ray,", " ?")] == ["one", "x-ray", ""]
    assert starts([{"word": " One.", "start": 1.0}, {"word": " -", "start": 2.0}]) == [("one", 1.0)]


def test_table():
    lines = table([("a", [0.1, 0.3], [0.1], []), ("b", [0.2], [0.4], [0.5])])
    assert lines[2:] == [row("a", [0.1, 0.3], [0.1], []), row("b", [0.2], [0.4], [0.5]),
                         row("all", [0.1, 0.3, 0.2], [0.1, 0.4], [0.5])]  # fmt: skip
    assert lines[2] == "| a | 1 | 200 ms | 100 ms | 0 | - |"


def test_edits():
    assert edits(list("kitten"), list("sitting")) == 3
    assert edits([], list("ab")) == 2 and edits(list("ab"), []) == 2 and edits(list("ab"), list("ab")) == 0
