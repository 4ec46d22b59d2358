"""Log-linear histograms: buckets whose middle is at most 1.6 % away from whatever is in them (HdrHistogram's scheme)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain

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


def packed(counts: Mapping[int, int]) -> list[int]:
    """Bucket, count, bucket, count, … in the order of the buckets."""
    return list(chain.from_iterable(sorted(counts.items())))


def unpacked(numbers: Sequence[int]) -> dict[int, int]:
    """What `packed` made a list of."""
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def percentiles(counts: Mapping[int, int], shares: Sequence[float]) -> list[float] | None:
    """For each ascending share (0.5 is the median) the middle of the bucket that it falls into; None without any."""
    buckets = sorted(counts)
    found = [counts[bucket] for bucket in buckets]
    if not found:
        return None
    if min(found) < 0:
        # It lacks what is not counted yet.
        found = [max(count, 0) for count in found]
    met = list(accumulate(found))
    if not met[-1]:
        return None
    return [middle_of(buckets[bisect_left(met, share * met[-1])]) for share in shares]
