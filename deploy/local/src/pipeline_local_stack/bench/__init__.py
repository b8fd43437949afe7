"""`make bench`: what this system does per second and how long it takes, each figure beside its baseline."""


def run_bench() -> int:
    """Measure everything; 0 only if no promise was broken on the way. Leaves the figures in `.local/bench.json`.

    Raises:
        StackError: the stack did not start.
    """
    # The load generator is a process of this package too, and must not carry everything that the measuring needs.
    from pipeline_local_stack.bench.run import measure_all  # noqa: PLC0415 - as said

    return measure_all()
