"""Tokens of a window to pieces and the next seek: every case of OpenAI's slicing."""

from __future__ import annotations

import pytest
from fake_model import FakeTokenizer

from whisperlite.transcribe.segments import Piece, WindowPlace, cut_tokens

BEGIN = FakeTokenizer.timestamp_begin
ts = FakeTokenizer().ts
A, B, C = 2, 3, 4


def cut(tokens, seek=0, n_frames=3000):
    return cut_tokens(tokens, BEGIN, WindowPlace(seek, n_frames, 2))


CASES = {
    # name: tokens, pieces as (start, end, tokens), next seek, single timestamp ending
    "empty": ([], [(0.0, 30.0, [])], 3000, False),
    "text only": ([A, B], [(0.0, 30.0, [A, B])], 3000, False),
    "one opening timestamp": ([ts(0.5), A], [(0.0, 0.5, [ts(0.5), A])], 3000, False),
    "only 0.00": ([ts(0), A], [(0.0, 30.0, [ts(0), A])], 3000, False),
    "one segment closed at the end": (
        [ts(0.5), A, ts(2.0)],
        [(0.0, 2.0, [ts(0.5), A, ts(2.0)])],
        3000,
        True,
    ),
    "two segments, single ending": (
        [ts(0.5), A, ts(1.0), ts(1.5), B, ts(2.0)],
        [(0.5, 1.0, [ts(0.5), A, ts(1.0)]), (1.5, 2.0, [ts(1.5), B, ts(2.0)])],
        3000,
        True,
    ),
    "pair at the end": (
        [ts(0.5), A, ts(1.0), ts(1.0)],
        [(0.5, 1.0, [ts(0.5), A, ts(1.0)])],
        100,
        False,
    ),
    "unfinished last segment": (
        [ts(0), A, ts(4.0), ts(5.0), B],
        [(0.0, 4.0, [ts(0), A, ts(4.0)])],
        400,
        False,
    ),
    "three segments": (
        [ts(0), A, ts(1.0), ts(1.0), B, ts(2.0), ts(2.0), C, ts(3.0)],
        [
            (0.0, 1.0, [ts(0), A, ts(1.0)]),
            (1.0, 2.0, [ts(1.0), B, ts(2.0)]),
            (2.0, 3.0, [ts(2.0), C, ts(3.0)]),
        ],
        3000,
        True,
    ),
    "pair that does not move": ([ts(0), ts(0), A], [(0.0, 0.0, [ts(0)])], 3000, False),
}


@pytest.mark.parametrize("name", CASES)
def test_cut(name):
    tokens, pieces, next_seek, single_ending = CASES[name]
    result = cut(tokens)
    assert result.pieces == tuple(Piece(start, end, tuple(piece)) for start, end, piece in pieces)
    assert result.next_seek == next_seek
    assert result.single_timestamp_ending == single_ending


def test_times_are_those_of_the_window():
    result = cut([ts(0), A, ts(1.0), ts(1.0), B], seek=1234)
    assert result.pieces[0].start == 12.34
    assert result.pieces[0].end == 12.34 + 50 * 0.02
    assert result.next_seek == 1334


def test_short_window_ends_where_its_audio_ends():
    result = cut([A], seek=100, n_frames=250)
    assert result.pieces[0].start == 1.0 and result.pieces[0].end == 3.5
    assert result.next_seek == 350
