"""A live session: samples in, words out while they are spoken.

In: mono float32 samples at 16 kHz in pieces of any size. Out: events (``stream.events``).
Knows nothing of: microphones, files, clocks, terminals.

The buffer is the audio since the last cut. Every ``chunk_seconds`` of new speech it is decoded, after the words
that are committed in it; a policy says which of the words that follow are certain. Frames are counted from the
start of the stream and never again, so times do not drift. What is kept is bounded: mel and words of a buffer, a
prompt.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from whisperlite.audio import HOP_LENGTH, SAMPLE_RATE, MelFrontend
from whisperlite.audio.mel import EDGE
from whisperlite.audio.samples import checked_samples
from whisperlite.audio.vad import WINDOW_SAMPLES
from whisperlite.errors import AudioError
from whisperlite.results import Segment, Word
from whisperlite.stream.events import Committed, Event, Level, SegmentClosed, SpeechEnd, SpeechStart, Tentative
from whisperlite.stream.gate import Edge, VoiceGate
from whisperlite.stream.hypothesis import Buffer, BufferDecoder, HeardWord, Hypothesis
from whisperlite.stream.options import make_stream_options
from whisperlite.stream.policies import make_policy
from whisperlite.text import language_code
from whisperlite.transcribe.speech import find_detector
from whisperlite.transcribe.words import SENTENCE_END_MARKS, WordTiming, merge_punctuations

FRAME_SECONDS = HOP_LENGTH / SAMPLE_RATE
QUIETEST_DB = -120.0
MIN_FRAMES = 20  # 0.2 s; less is no word
MAX_BUFFER_TOKENS = 160  # committed in one buffer; leaves a quarter of half a context for what follows


class StreamSession:
    """Transcribes audio that arrives in pieces.

    Parameters
    ----------
    model : WhisperModel
        May serve several sessions.
    policy : str
        ``local-agreement``: words on which consecutive decodings agree. ``align-att``: words whose attention is not
        on the newest audio; commits sooner.
    channel : int, optional
        Written into every event.
    **options
        Fields of ``AgreementOptions`` or ``AlignAttOptions``, ``BufferOptions``, ``GateOptions``; ``language``,
        ``task`` and the other names of ``STREAM_OPTION_NAMES``.

    Raises
    ------
    OptionError
        An option is unknown or cannot be honoured.

    Examples
    --------
    >>> from whisperlite import WhisperModel, demo_audio, load_audio
    >>> session = StreamSession(WhisperModel("nano"), language="en")
    >>> samples = load_audio(demo_audio())
    >>> events = session.push(samples[:16000]) + session.push(samples[16000:]) + session.finish()
    >>> for event in events:
    ...     if isinstance(event, SegmentClosed):
    ...         print(event.segment.text)
     Hotel one left three kilo.
     Tango.
    """

    # ref: ufal/whisper_streaming whisper_online.py OnlineASRProcessor

    def __init__(
        self, model: Any, policy: str = "local-agreement", *, channel: int | None = None, **options: Any
    ) -> None:
        self.options = chosen = make_stream_options(policy, **options)
        self.channel = channel
        language = chosen.decoding.language
        self._tokenizer = model.tokenizer(language, chosen.decoding.task)
        given = language_code(language) if language else None
        self._language: str | None = given if model.is_multilingual else "en"
        self._decoder = BufferDecoder(model, chosen)
        self._policy = make_policy(chosen.policy)
        self._frontend = MelFrontend(model.dims.n_mels)
        self._max_frames = 2 * model.dims.n_audio_ctx
        vad = chosen.gate.options()
        self._pad_frames = round(vad.speech_pad_ms / 10)
        self._gate: VoiceGate | None = None
        # An edge is known this long after its sample, at most.
        self._kept_frames = self._pad_frames
        if chosen.gate.vad is not False:
            self._gate = VoiceGate(find_detector(None if chosen.gate.vad is True else chosen.gate.vad), vad)
            late = (
                2 * WINDOW_SAMPLES + SAMPLE_RATE * (vad.min_speech_duration_ms + vad.min_silence_duration_ms) / 1000
            )
            self._kept_frames += math.ceil(late / HOP_LENGTH)

        self._n_samples = 0
        self._start: int | None = None if self._gate else 0  # frame of the buffer; None between speech
        self._settled = 0  # no buffer begins before this frame
        self._decoded_end = 0  # frame up to which the buffer was decoded
        self._in_buffer: list[HeardWord] = []  # committed
        self._pending: Hypothesis | None = None  # the last one, less what was committed of it
        self._pending_words: tuple[HeardWord, ...] = ()
        self._n_closed = 0  # of them in closed segments
        self._history: deque[int] = deque(maxlen=chosen.buffer.prompt_tokens)
        self._n_segments = 0
        self._last_end = 0.0  # of the last word before the buffer, seconds
        self._speech_start = 0.0  # seconds
        self._shown: tuple[Word, ...] = ()  # tentative words
        self._finished = False
        prompt = chosen.buffer.initial_prompt
        if prompt is not None:
            text = self._tokenizer.encode(" " + prompt.strip()) if isinstance(prompt, str) else prompt
            self._history.extend(int(token) for token in text)

    # what is known from outside

    @property
    def seconds(self) -> float:
        """Audio heard so far."""
        return self._n_samples / SAMPLE_RATE

    @property
    def language(self) -> str | None:
        """Code of the language; None until it is detected."""
        return self._language

    @property
    def settled(self) -> float:
        """Seconds before which no segment will start any more."""
        if len(self._in_buffer) > self._n_closed:
            return self._in_buffer[self._n_closed].word.start
        if self._start is not None:
            return max(self._start * FRAME_SECONDS, self._last_end)
        if self._finished:
            return math.inf
        return max(self._last_end, self.seconds - self._kept_frames * FRAME_SECONDS)

    @property
    def n_decoded(self) -> int:
        """How often a buffer was decoded."""
        return self._decoder.n_decoded

    @property
    def n_positions(self) -> int:
        """Positions (0.02 s each) that the encoder heard, in all decodings together."""
        return self._decoder.n_positions

    def push(self, samples: np.ndarray) -> list[Event]:
        """Add audio.

        Parameters
        ----------
        samples : ndarray (n,) float
            Mono at 16 kHz, finite; may be empty.

        Returns
        -------
        list of Event
            What became known, in order.

        Raises
        ------
        AudioError
            Samples of another kind, or ``finish`` was called.
        """
        if self._finished:
            raise AudioError("the session is finished; make a new one for the next audio")
        samples = checked_samples(samples)
        if not len(samples):
            return []
        events: list[Event] = []
        piece = round(self.options.buffer.chunk_seconds * SAMPLE_RATE)
        for first in range(0, len(samples), piece):
            part = samples[first : first + piece]
            self._n_samples += len(part)
            self._frontend.push(part)
            if self._gate is not None:
                for edge in self._gate.push(part):
                    events += self._edge(edge)
            if self._start is not None and self._frames_new() and self._is_full():
                events += self._step()
        if self._is_due():
            events += self._step()
        self._forget()
        return [*events, self._level(samples)]

    def finish(self) -> list[Event]:
        """End the audio: commits what is left.

        Raises
        ------
        AudioError
            ``finish`` was called before.
        """
        if self._finished:
            raise AudioError("the session is finished; make a new one for the next audio")
        events: list[Event] = []
        if self._n_samples > EDGE:
            self._frontend.finish()
        if self._gate is not None:
            for edge in self._gate.finish(self._n_samples):
                events += self._edge(edge)
        elif self._start is not None:
            events += self._close(self._frontend.n_frames, None)
        self._start, self._finished = None, True
        return events

    # speech

    def _edge(self, edge: Edge) -> list[Event]:
        frame = edge.sample // HOP_LENGTH
        time = round(edge.sample / SAMPLE_RATE, 3)
        if edge.is_start:
            self._start = self._decoded_end = max(
                self._settled, frame - self._pad_frames, self._frontend.first_frame
            )
            self._speech_start = time
            return [SpeechStart(at=self.seconds, channel=self.channel, time=time)]
        end = min(frame + self._pad_frames, self._frontend.n_frames)
        events = self._close(end, frame if frame < self._frontend.n_frames else None)
        self._start = None
        return [*events, SpeechEnd(at=self.seconds, channel=self.channel, time=time)]

    def _close(self, end: int, speech_end: int | None) -> list[Event]:
        """Commit everything up to frame ``end``, where speech pauses; since ``speech_end`` there is silence."""
        start = self._start
        assert start is not None
        heard = self._pending is not None and speech_end is not None and self._decoded_end >= speech_end
        if not heard and end - start >= MIN_FRAMES:
            # What was decoded last has not heard the end.
            self._decode(end)
        events = self._commit(len(self._pending_words), speech_end)
        events += self._close_segment()
        events += self._tentative()
        self._cut(len(self._in_buffer), end)
        self._forget_hypotheses()
        return events

    # decoding

    def _frames_new(self) -> int:
        return self._frontend.n_frames - self._decoded_end

    def _is_full(self) -> bool:
        assert self._start is not None
        return (self._frontend.n_frames - self._start) * FRAME_SECONDS >= self.options.buffer.max_buffer_seconds

    def _is_due(self) -> bool:
        """Whether there is enough new speech to decode."""
        if self._start is None or self._frontend.n_frames - self._start < MIN_FRAMES:
            return False
        wanted = round(self.options.buffer.chunk_seconds / FRAME_SECONDS)
        if self._frames_new() < wanted - 2:  # the last two wait for samples behind them
            return False
        silent_from = self._gate.silent_from if self._gate is not None else None
        # In silence after speech there is nothing new to hear.
        return silent_from is None or self._decoded_end * HOP_LENGTH < silent_from

    def _step(self) -> list[Event]:
        """Decode the buffer and commit what is certain."""
        hypothesis = self._decode(self._frontend.n_frames)
        full = self._is_full() or sum(len(heard.tokens) for heard in self._in_buffer) > MAX_BUFFER_TOKENS
        n_certain = 0 if hypothesis.doubt else self._policy.n_certain(hypothesis)
        n_words = len(hypothesis.words)
        while n_words and _is_mark(hypothesis.words[n_words - 1]):
            n_words -= 1  # the audio ends here, perhaps not the sentence: a mark waits for what follows it
        n_certain = min(n_certain, n_words)
        events = self._commit(n_certain)
        events += self._trim(full)
        return [*events, *self._tentative()]

    def _decode(self, end: int) -> Hypothesis:
        start = self._start
        assert start is not None
        end = min(end, start + self._max_frames)
        since = self._in_buffer[-1].word.end / FRAME_SECONDS if self._in_buffer else start
        buffer = Buffer(
            mel=self._frontend.window(start, end),
            start_frame=start,
            committed=tuple(heard.tokens for heard in self._in_buffer),
            prompt=tuple(self._history),
            n_new_frames=max(0, end - math.floor(since)),
            earliest=max(self._last_end, self._speech_start),
        )
        hypothesis = self._decoder.decode(buffer, self._tokenizer, self._language, self._policy.stop)
        self._decoded_end = end
        if not hypothesis.doubt:  # otherwise what was believed before stands
            # Times are better known now; those of closed segments were given away.
            closed, opened = self._in_buffer[: self._n_closed], hypothesis.committed_words[self._n_closed :]
            earliest = closed[-1].word.end if closed else 0.0
            placed = _starting_at(earliest, (*opened, *hypothesis.words))
            self._in_buffer = [*closed, *placed[: len(opened)]]
            self._pending, self._pending_words = hypothesis, placed[len(opened) :]
            if not opened and all(map(_is_mark, self._pending_words)):
                self._pending_words = ()  # a mark alone is no segment
        return hypothesis

    def _commit(self, n_words: int, speech_end: int | None = None) -> list[Event]:
        """Make the first words of the pending ones stay; close the sentences that end among them.

        The voice detector knows better than attention where the last word before a pause ends.
        """
        if speech_end is not None:
            n_before = len(self._in_buffer)
            placed = _ending_at(speech_end * FRAME_SECONDS, (*self._in_buffer, *self._pending_words))
            self._in_buffer, self._pending_words = list(placed[:n_before]), placed[n_before:]
        new, self._pending_words = self._pending_words[:n_words], self._pending_words[n_words:]
        if not new:
            return []
        assert self._pending is not None
        self._policy.forget(n_words)
        if self._language is None:
            self._language = self._pending.result.language
            self._tokenizer = self._tokenizer.with_options(self._language, self.options.decoding.task)
        said = tuple(heard.word for heard in new)
        events: list[Event] = [Committed(at=self.seconds, channel=self.channel, words=said)]
        for heard in new:
            self._in_buffer.append(heard)
            if _ends_sentence(heard):
                events += self._close_segment()
        return events

    def _tentative(self) -> list[Event]:
        """The words that wait, where they are others than those shown last."""
        words = tuple(heard.word for heard in self._pending_words)
        if words == self._shown:
            return []
        self._shown = words
        return [Tentative(at=self.seconds, channel=self.channel, words=words)]

    def _close_segment(self) -> list[Event]:
        heard = self._in_buffer[self._n_closed :]
        if not heard:
            return []
        assert self._pending is not None
        self._n_closed = len(self._in_buffer)
        result = self._pending.result
        timings = [WordTiming(h.word.word, h.tokens, h.word.start, h.word.end, h.word.probability) for h in heard]
        words = tuple(Word(t.word, t.start, t.end, t.probability) for t in merge_punctuations(timings) if t.word)
        tokens = tuple(token for h in heard for token in h.tokens)
        segment = Segment(
            id=self._n_segments,
            seek=self._start or 0,
            start=heard[0].word.start,
            end=words[-1].end,
            text=self._tokenizer.decode(tokens),
            tokens=tokens,
            temperature=result.temperature,
            avg_logprob=result.avg_logprob,
            compression_ratio=result.compression_ratio,
            no_speech_prob=result.no_speech_prob,
            words=words,
        )
        self._n_segments += 1
        return [SegmentClosed(at=self.seconds, channel=self.channel, segment=segment)]

    # the buffer

    def _trim(self, full: bool) -> list[Event]:
        """Cut a long buffer after its last committed sentence; a full one in any case."""
        start = self._start
        assert start is not None
        if not full and (self._frontend.n_frames - start) * FRAME_SECONDS <= self.options.buffer.trim_seconds:
            return []
        for n_words in range(len(self._in_buffer), 0, -1):
            if _ends_sentence(self._in_buffer[n_words - 1]):
                self._cut(n_words, _frame_after(self._in_buffer[n_words - 1]))
                return []
        if not full:
            return []
        if self._in_buffer:
            events = self._close_segment()
            self._cut(len(self._in_buffer), _frame_after(self._in_buffer[-1]))
            return events
        events = self._commit(len(self._pending_words))
        events += self._close_segment()
        self._cut(len(self._in_buffer), self._decoded_end)
        self._forget_hypotheses()
        return events

    def _cut(self, n_words: int, frame: int) -> None:
        """The buffer begins at ``frame``; its first ``n_words`` lie before it."""
        if self.options.buffer.condition_on_previous_text:
            self._history.extend(token for heard in self._in_buffer[:n_words] for token in heard.tokens)
        else:
            self._history.clear()
        if n_words:
            self._last_end = self._in_buffer[n_words - 1].word.end
        del self._in_buffer[:n_words]
        self._n_closed -= n_words
        assert self._start is not None
        self._start = self._settled = min(max(frame, self._start), self._frontend.n_frames)

    def _forget_hypotheses(self) -> None:
        self._policy.forget(None)
        self._pending, self._pending_words = None, ()

    def _forget(self) -> None:
        """Drop frames that no buffer will hold."""
        if self._start is not None:
            self._frontend.forget(self._start)
        else:
            self._frontend.forget(self._frontend.n_frames - self._kept_frames)

    def _level(self, samples: np.ndarray) -> Level:
        power, peak = float(np.mean(np.square(samples, dtype=np.float64))), float(np.abs(samples).max())
        rms_db = 10 * math.log10(power) if power else QUIETEST_DB
        peak_db = 20 * math.log10(peak) if peak else QUIETEST_DB
        return Level(
            at=self.seconds,
            channel=self.channel,
            rms_db=round(max(rms_db, QUIETEST_DB), 1),
            peak_db=round(max(peak_db, QUIETEST_DB), 1),
        )


def _ends_sentence(heard: HeardWord) -> bool:
    text = heard.word.word.strip()
    return bool(text) and text[-1] in SENTENCE_END_MARKS


def _is_mark(heard: HeardWord) -> bool:
    return heard.word.word.strip() in SENTENCE_END_MARKS


def _starting_at(seconds: float, heard: tuple[HeardWord, ...]) -> tuple[HeardWord, ...]:
    """Words of which none starts before ``seconds``."""
    placed = []
    for item in heard:
        start = max(item.word.start, seconds)
        placed.append(replace(item, word=replace(item.word, start=start, end=max(item.word.end, start))))
    return tuple(placed)


def _ending_at(seconds: float, heard: tuple[HeardWord, ...]) -> tuple[HeardWord, ...]:
    """Words of which the last one with sound ends at ``seconds``, if it began before, and no other ends later."""
    seconds = round(seconds, 2)
    placed: list[HeardWord] = []
    last = True
    for item in reversed(heard):
        start, end = min(item.word.start, seconds), min(item.word.end, seconds)
        if last and not _is_mark(item):
            end, last = seconds, False
        elif last:
            start = end = seconds
        placed.append(replace(item, word=replace(item.word, start=start, end=end)))
    return tuple(reversed(placed))


def _frame_after(heard: HeardWord) -> int:
    """Where to cut after a word. A mark by itself lies in the pause, so its middle does."""
    word = heard.word
    seconds = (word.start + word.end) / 2 if _is_mark(heard) else word.end
    return round(seconds / FRAME_SECONDS)
