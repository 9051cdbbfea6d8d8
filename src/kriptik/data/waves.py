"""Sound as numbers: resampling, loudness, silences, how clean it is, its outline. Pure; samples are float32 [frames, channels]."""

from itertools import pairwise
from math import gcd

import numpy as np

LOUDNESS = -23.0
"""In LUFS, what every recording is brought to. Source: EBU R 128; measured as ITU-R BS.1770-4 says (pyloudnorm)."""
CEILING = 0.99
BLOCK_S = 0.4
"""Shorter sounds have no loudness by that standard: they are brought to a peak of `CEILING` / 2."""
FRAME_S = 0.02
PEAKS = 96
FULL_SCALE = 0.985
"""From this share of a recording's peak on, samples that follow one another were cut off; only where the peak is this high."""
RUN = 3


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The same sound at another rate, in Hz, by a polyphase filter (SciPy)."""
    if rate == wanted or not len(samples):
        return samples
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return resample_poly(samples, wanted // common, rate // common, axis=0).astype(np.float32)


def levelled(samples: np.ndarray, rate: int) -> np.ndarray:
    """The same sound at `LOUDNESS`, or as near as it comes without a sample beyond `CEILING`."""
    peak = float(np.abs(samples).max())
    if len(samples) < BLOCK_S * rate:
        return samples * (CEILING / 2 / peak)
    import pyloudnorm

    found = pyloudnorm.Meter(rate).integrated_loudness(samples.astype(np.float64))
    gain = 10 ** ((LOUDNESS - found) / 20) if np.isfinite(found) else CEILING / 2 / peak
    return (samples * min(gain, CEILING / peak)).astype(np.float32)


def outline(samples: np.ndarray, count: int = PEAKS) -> list[int]:
    """The largest sample of `count` equal parts, from 0 to 100: a waveform as a page draws it."""
    loud = np.abs(samples).max(1)
    edges = np.linspace(0, len(loud), min(count, len(loud)) + 1).astype(int)
    return [round(float(min(1.0, loud[a:b].max())) * 100) for a, b in pairwise(edges)]


def clipped(samples: np.ndarray) -> float:
    """Share of samples that were cut off: at least `RUN` in a row at full scale."""
    loud = np.abs(samples).max(1)
    if float(loud.max()) < FULL_SCALE:
        return 0.0
    high = loud >= FULL_SCALE * float(loud.max())
    runs = np.convolve(high, np.ones(RUN), "valid") == RUN
    return float(np.convolve(runs, np.ones(RUN), "full").astype(bool).mean())


def noise_ratio(samples: np.ndarray, rate: int) -> float:
    """Signal to noise in dB, from the loud and the quiet frames: the 95th over the 10th percentile of their power.

    A guess that wants pauses in the recording; where all is loud it says little.
    """
    power = _power(samples, rate)
    quiet, loud = np.percentile(power, (10, 95))
    return float(10 * np.log10(max(loud - quiet, 1e-12) / max(quiet, 1e-12)))


def phrases(samples: np.ndarray, rate: int, longest: float, least: float) -> list[tuple[int, int]]:
    """Where to cut speech: at its pauses, into parts of up to `longest` and no less than `least` seconds; silence is left out.

    A part without a pause in it is cut at its quietest frame.
    """
    step = max(1, round(FRAME_S * rate))
    power = _power(samples, rate)
    floor = max(float(np.percentile(power, 95)) * 10**-4.0, float(np.percentile(power, 10)) * 4, 1e-9)
    floor = min(floor, float(np.percentile(power, 95)) / 10)
    spoken = np.flatnonzero(power > floor)
    if not len(spoken):
        return []
    margin, most, few = round(0.1 / FRAME_S), round(longest / FRAME_S), round(least / FRAME_S)
    found: list[tuple[int, int]] = []
    start = last = int(spoken[0])
    for frame in map(int, spoken[1:]):
        if frame - last > 2 * margin and (last - start >= most / 3 or frame - start > most):
            found += _within(power, start, last, most)
            start = frame
        last = frame
    found += _within(power, start, last, most)
    return [
        (max(0, (a - margin) * step), min(len(samples), (b + 1 + margin) * step)) for a, b in found if b - a + 1 >= few
    ]


def _within(power: np.ndarray, start: int, last: int, most: int) -> list[tuple[int, int]]:
    """The part as it is, or cut at quiet frames until no piece is longer than `most`."""
    if last - start < most:
        return [(start, last)]
    inner = slice(start + most // 2, start + most)
    cut = inner.start + int(power[inner].argmin())
    return [(start, cut - 1), *_within(power, cut, last, most)]


def _power(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mean square of each frame of `FRAME_S`."""
    step = max(1, round(FRAME_S * rate))
    flat = samples.mean(1).astype(np.float64)
    flat = flat[: max(step, len(flat) // step * step)]
    return np.square(np.resize(flat, (max(1, len(flat) // step), step))).mean(1)
