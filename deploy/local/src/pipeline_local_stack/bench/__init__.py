"""`make bench`: what this system does per second and how long it takes, each figure beside its baseline."""

from collections.abc import Sequence


def run_bench(parts: Sequence[str] = (), *, record: bool = False) -> int:
    """Measure; 0 only if no promise was broken on the way. Leaves figures, page and chart in `.local`.

    Args:
        parts: what to measure; nothing is everything but `scale`.
        record: keep table, JSON and chart in `docs`, too, unless a promise was broken.

    Raises:
        StackError: the stack did not start, or there is no such part.
    """
    # The load generator is a process of this package too, and must not carry everything that the measuring needs.
    from pipeline_local_stack.bench.run import ALL_PARTS, PARTS, measure_all  # noqa: PLC0415 - as said
    from pipeline_local_stack.paths import StackError  # noqa: PLC0415 - as said

    if unknown := sorted(set(parts) - set(ALL_PARTS)):
        raise StackError(
            f"The bench has no part {', '.join(unknown)}; it has {', '.join(ALL_PARTS)}."
        )
    return measure_all(parts or PARTS, record=record)
