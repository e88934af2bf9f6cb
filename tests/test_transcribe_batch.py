"""Many jobs through one loop, with a scripted model: each gives what it gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from fake_model import FLOOR, FakeDims, FakeModel, FakeTokenizer, sampled_part

from whisperlite.audio import N_FRAMES
from whisperlite.errors import OptionError
from whisperlite.transcribe import make_options, transcribe_windows
from whisperlite.transcribe.jobs import make_job
from whisperlite.transcribe.loop import run_jobs
from whisperlite.transcribe.windows import Content

TOKENIZER = FakeTokenizer()
EOT, ts = TOKENIZER.eot, TOKENIZER.ts


class SeekModel(FakeModel):
    """Knows a window by its first mel value, its frame number in ``content``, and not by when it was encoded."""

    n_batches = 0

    def encode(self, mel):
        self.n_batches += 1
        features = super().encode(mel)
        features[:, 0, 0] = mel[:, 0, 0]
        return features


def content(seconds: float, base: int = 0) -> Content:
    n_frames = round(seconds * 100)
    mel = np.ones((80, n_frames + N_FRAMES), dtype=np.float32)
    mel[0] = base + np.arange(n_frames + N_FRAMES)
    return Content(lambda start, end: mel[:, start:end], n_frames)


def by_place(frame: int, tokens: list[int]) -> dict[int, float]:
    """Text and times that differ from window to window and with the length of the prompt; some windows are hot."""
    if tokens[-1] == TOKENIZER.sot:
        return {TOKENIZER.no_speech: FLOOR, TOKENIZER.all_language_tokens[(frame // 1000) % 3]: 5.0}
    before = tokens.index(TOKENIZER.sot)
    end = 8.0 + (frame // 100) % 7 + before % 3
    text = [1 + (frame // 10 + before + i) % 15 for i in range(1 + frame // 500 % 4)]
    stamps = [] if TOKENIZER.no_timestamps in tokens else None
    wanted = [*text, EOT] if stamps == [] else [ts(0), *text, ts(end), ts(end), 3, ts(end + 9), ts(end + 9), EOT]
    n = len(sampled_part(tokens))
    hot = frame % 700 < 60
    return {wanted[min(n, len(wanted) - 1)]: 9.0, **(dict.fromkeys(range(1, 16), 8.0) if hot else {})}


def alone(base: int, seconds: float, dims: FakeDims | None = None, **options):
    made = make_options(language="en", **options)
    return list(transcribe_windows(SeekModel(by_place, dims), TOKENIZER, content(seconds, base), made))


def together(audios, batch_size: int, dims: FakeDims | None = None, **options):
    made = make_options(language="en", **options)
    model = SeekModel(by_place, dims)
    jobs = [make_job(content(seconds, base), made, TOKENIZER, model.dims) for base, seconds in audios]
    found = {id(job): [] for job in jobs}
    ended = []
    for job, window in run_jobs(model, jobs, made, batch_size):
        if window is None:
            ended.append(id(job))
        else:
            found[id(job)].append(window)
    assert sorted(ended) == sorted(map(id, jobs))
    return [found[id(job)] for job in jobs], model


AUDIOS = [(0, 65), (10_000, 4), (20_000, 0), (30_070, 130), (40_500, 31), (50_000, 90)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beam_size": 3},
        {"temperature": (0.0, 0.4, 0.8), "best_of": 2, "seed": 3},
        {"initial_prompt": "seven eight", "carry_initial_prompt": True, "condition_on_previous_text": False},
        {"alternatives": 2, "sample_len": 6},
        {"clip_timestamps": "2,9.5,11"},
        {"hotwords": "nine ten", "repetition_penalty": 1.5, "no_repeat_ngram_size": 3},
    ],
)
def test_files_in_a_batch_equal_one_by_one(options, batch_size):
    found, _ = together(AUDIOS, batch_size, **options)
    assert found == [alone(base, seconds, **options) for base, seconds in AUDIOS]


def test_prompts_of_a_batch_that_fill_the_context_in_different_ways():
    """One window must stop early for want of room, while others go on."""
    dims = FakeDims(n_text_ctx=24)
    audios = [(0, 130), (10_000, 30)]
    assert together(audios, 2, dims)[0] == [alone(base, seconds, dims) for base, seconds in audios]


def test_windows_are_encoded_together():
    found, model = together([(0, 60), (10_000, 30), (20_000, 90)], 3)
    assert model.n_batches == max(map(len, found)) < sum(map(len, found))


def test_jobs_are_taken_when_there_is_room():
    taken = []

    def jobs():
        for base, seconds in AUDIOS:
            taken.append(base)
            yield make_job(content(seconds, base), made, TOKENIZER, model.dims)

    made, model = make_options(language="en"), SeekModel(by_place)
    running = run_jobs(model, jobs(), made, 2)
    assert taken == []
    next(running)
    assert taken == [0, 10_000]


# one file


@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"clip_timestamps": "2,9.5,11,20,5,50,70"},
        {"clip_timestamps": "2,2,3,4,80,90"},
        {"without_timestamps": True},
        {"without_timestamps": True, "clip_timestamps": "3,40,50,95"},
        {"clip_timestamps": "2,9.5,11,20", "initial_prompt": "seven", "carry_initial_prompt": True},
    ],
)
def test_parts_of_a_file_in_a_batch_equal_one_after_the_other(options, batch_size):
    options = {"condition_on_previous_text": False, **options}
    assert alone(0, 100, batch_size=batch_size, **options) == alone(0, 100, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "condition_on_previous_text=False"),
        ({"condition_on_previous_text": False}, "and vad_filter=True with chunk_length=30, several clips"),
        ({"without_timestamps": True}, "condition_on_previous_text=False"),
        ({"condition_on_previous_text": False, "clip_timestamps": "1,2,3", "initial_prompt": "a"}, "carry_initial"),
        ({"condition_on_previous_text": False, "clip_timestamps": "1,2,3", "word_timestamps": True}, "word_timest"),
    ],
)
def test_batches_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=f"batch_size=4.*{message}"):
        make_options(batch_size=4, **options)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, None])
def test_batch_size_is_a_count(batch_size):
    with pytest.raises(OptionError, match="batch_size="):
        make_options(batch_size=batch_size)


# languages


def test_every_window_in_its_own_language():
    windows = alone(0, 65, multilingual=True)
    languages = [window.language for window in windows]
    assert languages == [["en", "es", "de"][window.seek // 1000 % 3] for window in windows]
    assert len(set(languages)) > 1
    assert all(next(iter(window.language_probs)) == window.language for window in windows)
    assert [w.language_probs for w in alone(0, 65)] == [None] * len(alone(0, 65))
    found, _ = together([(0, 65), (10_000, 65)], 2, multilingual=True)
    assert found[0] == windows and found[1] == alone(10_000, 65, multilingual=True)


def test_the_language_of_a_window_is_in_its_context():
    model = SeekModel(by_place)
    made = make_options(language="en", multilingual=True)
    windows = list(transcribe_windows(model, TOKENIZER, content(65), made))
    contexts = [prompt for prompt in model.prompts if len(prompt) > 1]
    codes = dict(zip(TOKENIZER.all_language_tokens, TOKENIZER.all_language_codes, strict=True))
    used = [codes[prompt[prompt.index(TOKENIZER.sot) + 1]] for prompt in contexts]
    assert used == [window.language for window in windows for _ in window.attempts]
