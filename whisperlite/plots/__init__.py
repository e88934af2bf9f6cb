"""Pictures of a transcription: words over the mel, attention with its path, the wave with its speech.

In: audio, models, transcripts. Out: matplotlib figures; picture files.
Knows nothing of: how any of it is computed, command lines.

>>> from whisperlite import WhisperModel, demo_audio
>>> from whisperlite.plots import plot_words, save
>>> save(plot_words(demo_audio(), model=WhisperModel("nano"), language="en"), "words.png")  # doctest: +SKIP
"""

from whisperlite.plots.attention import plot_attention
from whisperlite.plots.figures import save
from whisperlite.plots.speech import plot_speech
from whisperlite.plots.words import plot_words

__all__ = ["plot_attention", "plot_speech", "plot_words", "save"]
