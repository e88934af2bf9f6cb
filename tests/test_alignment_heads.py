"""Heads for word times: the model's own, those of its sizes where the file names none, or the caller's."""

from __future__ import annotations

import numpy as np
import pytest

from whisperlite import WhisperModel, demo_audio
from whisperlite.checkpoint import open_checkpoint, resolve
from whisperlite.checkpoint.convert import convert
from whisperlite.conversion import companions
from whisperlite.errors import OptionError

OWN, OTHERS = ((2, 0), (3, 1)), ((0, 0), (0, 1))


def words(model, **options):
    transcript = model.transcribe(demo_audio(), language="en", temperature=0.0, word_timestamps=True, **options)
    return [(word.word, word.start, word.end) for segment in transcript for word in segment.words]


@pytest.fixture(scope="module")
def ggml(tmp_path_factory):
    return convert(resolve("nano"), tmp_path_factory.mktemp("ggml") / "some-name.bin", "ggml", "f16", companions)


def test_a_ggml_file_has_the_heads_of_its_sizes(ggml, nano):
    """The format holds none; the name of the file says nothing, its sizes are nano's."""
    model = WhisperModel(ggml)
    assert model._model.alignment_heads == OWN
    assert words(model) == words(nano)


def test_a_ggml_file_of_no_published_sizes_takes_the_last_half_of_the_layers(tmp_path, ggml):
    """One decoder layer cut from nano: sizes that nobody published."""
    from whisperlite.checkpoint.write_ggml import write_ggml

    class Shorter:
        def __init__(self, whole):
            self.whole, self.dims = whole, whole.dims.__class__(**{**vars(whole.dims), "n_text_layer": 3})

        def shape(self, name):
            return self.whole.shape(name)

        def read(self, name):
            return self.whole.read(name)

    path = tmp_path / "short.bin"
    with open_checkpoint(ggml) as whole:
        write_ggml(Shorter(whole), path, "f16", np.zeros((80, 201), np.float32), whole.tokens)
    model = WhisperModel(path)
    assert model._model.alignment_heads == ((1, 0), (1, 1), (2, 0), (2, 1))
    given = WhisperModel(path, alignment_heads=[(2, 1)])
    assert given._model.alignment_heads == ((2, 1),)


def test_heads_given_with_the_model_replace_its_own(ggml, nano):
    for source in ("nano", ggml):
        model = WhisperModel(source, alignment_heads=OTHERS)
        assert model._model.alignment_heads == OTHERS
        found = words(model)
        assert found == words(nano, alignment_heads=OTHERS)
        assert [word for word, _, _ in found] == [word for word, _, _ in words(nano)]
        assert found != words(nano)  # other heads, other times
        assert words(model, alignment_heads=OWN) == words(nano)  # the call's win


@pytest.mark.parametrize("heads, said", [([(4, 0)], r"\(4, 0\) is not of 4 layers of 2"), ([(0, 2)], r"\(0, 2\)"),
                                         ([(-1, 0)], r"\(-1, 0\)"), ([], "is empty")])  # fmt: skip
def test_heads_that_are_not_there_are_refused(ggml, heads, said):
    for source in ("nano", ggml):
        with pytest.raises(OptionError, match=said):
            WhisperModel(source, alignment_heads=heads)
