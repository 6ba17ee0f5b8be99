"""Sound as numbers: decoded late, from any reference, resampled, never silently shorter than the file says.

libsndfile reads what it knows (WAV, FLAC, Ogg with Vorbis or Opus, MP3), libav the rest (AAC, and the sound of videos).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO

import numpy as np

from sensorium.assets import need
from sensorium.data.libav import open_stream, packets
from sensorium.data.media import Kind, open_bytes, reading, start_of, where
from sensorium.data.whole import refuse_cut
from sensorium.errors import DataError
from sensorium.sample import MediaSource

SNDFILE: tuple[Kind | None, ...] = ("wav", "flac", "ogg", "mp3")
MAX_VALUES = 100_000_000
"""Samples times channels above which a sound is refused: 17 minutes of stereo at 48 kHz, 400 MB."""
RATES = range(1000, 768_001)
"""Samples a second that a sound may have; resampling others would take for ever."""
BLOCK = 1 << 18
"""Samples that are decoded at a time, so that a length in a header allocates nothing."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header says: samples a second, channels, and the duration in seconds, or None where it says none."""

    rate: int
    channels: int
    seconds: float | None


def probe_audio(source: MediaSource, name: str = "sound") -> AudioInfo:
    """The header of a sound, with nothing decoded. A `DataError` if there is none."""
    with reading(source, name), open_bytes(source, name) as file:
        if start_of(file) in SNDFILE:
            with _soundfile(file, f"{name}: {where(source)}") as opened:
                return AudioInfo(opened.samplerate, opened.channels, opened.frames / opened.samplerate)
        with open_stream(file, "audio", f"{name}: {where(source)}") as (container, stream):
            seconds = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / 1_000_000
            return AudioInfo(stream.rate, stream.codec_context.channels, float(seconds) or None)


def read_audio(source: MediaSource, rate: int | None = None, mono: bool = False, name: str = "sound") -> np.ndarray:
    """float32 `[channels, samples]`, about -1 to 1, at `rate` samples a second (by default its own); `mono` is the mean
    of the channels. A `DataError` for a sound that is empty, cut short, too long or not finite; silence is a sound,
    which `loudness` tells."""
    with reading(source, name), open_bytes(source, name) as file:
        decode = _decode_soundfile if start_of(file) in SNDFILE else _decode_libav
        own, wave = decode(file, f"{name}: {where(source)}")
    if own not in RATES:
        found = f"{own} samples a second; between {RATES[0]} and {RATES[-1]} are read"
        raise DataError(f"{name}: {where(source)} has {found}; re-save or remove it")
    if not wave.size:
        raise DataError(f"{name}: {where(source)} holds no samples; remove it")
    if not np.isfinite(wave).all():
        raise DataError(f"{name}: {where(source)} has samples that are not finite; re-save or remove it")
    wave = wave.mean(0, keepdims=True) if mono else wave
    with reading(source, name):
        return wave if rate in (None, own) else resample(wave, own, rate, name)


def sound_length(source: MediaSource, rate: int, name: str = "sound") -> int:
    """How many samples `read_audio` gives at `rate`: from the header where libsndfile reads the sound, else by decoding
    it, for other headers are about right at best."""
    with reading(source, name), open_bytes(source, name) as file:
        if start_of(file) in SNDFILE:
            with _soundfile(file, f"{name}: {where(source)}") as opened:
                return _length(opened.frames, opened.samplerate, rate)
    return read_audio(source, rate, mono=True, name=name).shape[1]


def _length(samples: int, rate: int, to: int) -> int:
    """How many samples at the rate `to` last as long."""
    return max(1, round(samples * to / rate))


def resample(wave: np.ndarray, rate: int, to: int, name: str = "sound") -> np.ndarray:
    """float32 `[channels, samples]` at another rate, as many samples as last equally long, by libswresample. A
    `DataError` if that is too many."""
    need("av", "data", "resampling sound")
    import av

    length = _length(wave.shape[1], rate, to)
    if length * len(wave) > MAX_VALUES:
        raise DataError(f"{name}: {length} samples at {to} a second are too many; cut it into shorter ones")
    rows = []
    for channel in np.ascontiguousarray(wave, np.float32):  # each by itself, so that any number of them will do
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=to)
        frame = av.AudioFrame.from_ndarray(channel[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        parts = [part.to_ndarray()[0] for given in (frame, None) for part in resampler.resample(given)]
        rows.append(np.concatenate(parts) if parts else np.zeros(0, np.float32))
    return np.stack([np.pad(row[:length], (0, max(0, length - len(row)))) for row in rows])


def loudness(wave: np.ndarray) -> float:
    """The root mean square in decibels below full scale: 0 for a square wave of -1 and 1, minus infinity for
    silence."""
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    return float(10 * np.log10(power)) if power else float("-inf")


def _soundfile(file: BinaryIO, name: str) -> Any:
    need("soundfile", "data", "reading sound")
    import soundfile

    refuse_cut(file, start_of(file), name)
    return soundfile.SoundFile(file)


def _decode_soundfile(file: BinaryIO, name: str) -> tuple[int, np.ndarray]:
    with _soundfile(file, name) as opened:
        blocks = (opened.read(BLOCK, dtype="float32", always_2d=True).T for _ in count())
        wave = _joined(blocks, opened.channels, name)
        if wave.shape[1] < opened.frames:
            found = f"{wave.shape[1]} of {opened.frames} samples can be decoded"
            raise DataError(f"{name} is cut short or damaged: {found}; restore or remove it")
        return opened.samplerate, wave


def _decode_libav(file: BinaryIO, name: str) -> tuple[int, np.ndarray]:
    with open_stream(file, "audio", name) as (container, stream):
        from av import AudioResampler

        to_float = AudioResampler(format="fltp")
        frames = (frame for packet in packets(container, stream, name) for frame in packet.decode())
        blocks = (part.to_ndarray() for frame in frames for part in to_float.resample(frame))
        return stream.rate, _joined(blocks, stream.codec_context.channels, name)


def _joined(blocks: Iterator[np.ndarray], channels: int, name: str) -> np.ndarray:
    """Blocks `[channels, samples]` up to an empty one as one, within the limit."""
    kept, values = [np.zeros((channels, 0), np.float32)], 0
    for block in blocks:
        values += block.size
        if values > MAX_VALUES:
            raise DataError(f"{name} has more than {MAX_VALUES} samples in its channels; cut it into shorter ones")
        if not block.size:
            break
        kept.append(block)
    return np.concatenate(kept, axis=1)
