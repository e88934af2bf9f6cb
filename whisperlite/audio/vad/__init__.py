"""Voice activity: where somebody speaks, and audio without the rest.

In: samples. Out: probabilities of speech, spans of speech, a map between cut and original audio.
Knows nothing of: models of speech recognition, transcription.
"""

from whisperlite.audio.vad.choose import detect_speech, voice_detector
from whisperlite.audio.vad.detector import VoiceDetector, VoiceStream
from whisperlite.audio.vad.energy import EnergyDetector
from whisperlite.audio.vad.options import WINDOW_SAMPLES, VadOptions
from whisperlite.audio.vad.silero import SileroDetector
from whisperlite.audio.vad.spans import Span, speech_spans
from whisperlite.audio.vad.speech_map import SpeechMap

__all__ = [
    "WINDOW_SAMPLES",
    "EnergyDetector",
    "SileroDetector",
    "Span",
    "SpeechMap",
    "VadOptions",
    "VoiceDetector",
    "VoiceStream",
    "detect_speech",
    "speech_spans",
    "voice_detector",
]
