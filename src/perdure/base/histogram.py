"""Log-linear histograms: buckets whose middle is at most 1.6 % away from whatever is in them (HdrHistogram's scheme)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_LINEAR_BITS = 5
_LINEAR = 1 << _LINEAR_BITS


def bucket_of(value: int) -> int:
    """The bucket of a whole number; below 32 each has its own, above there are 32 for each doubling."""
    if value < _LINEAR:
        return max(value, 0)
    shift = value.bit_length() - _LINEAR_BITS - 1
    return (shift << _LINEAR_BITS) + (value >> shift)


def middle_of(bucket: int) -> float:
    if bucket < _LINEAR:
        return float(bucket)
    shift = (bucket >> _LINEAR_BITS) - 1
    least = (_LINEAR + bucket % _LINEAR) << shift
    return least + ((1 << shift) - 1) / 2


def percentiles(counts: Mapping[int, int], shares: Sequence[float]) -> list[float] | None:
    """For each ascending share (0.5 is the median) the middle of the bucket that it falls into; None without any."""
    total = sum(count for count in counts.values() if count > 0)
    if not total:
        return None
    found: list[float] = []
    met = 0
    for bucket in sorted(counts):
        met += max(counts[bucket], 0)
        while len(found) < len(shares) and met >= shares[len(found)] * total:
            found.append(middle_of(bucket))
    return found
