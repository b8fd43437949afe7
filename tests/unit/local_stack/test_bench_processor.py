import subprocess
import sys

from pipeline_local_stack.bench.processor import seconds_used
from pipeline_local_stack.processes import Child

_WORK = "sum(range(4_000_000)); print('done', flush=True); input()"
_WORK_IN_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_WORK!r}])"


def _run(program):
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    return Child("work", [], process=process)


def test_work_of_a_process_and_of_the_processes_it_started_is_counted():
    for program in (_WORK, _WORK_IN_A_CHILD):
        child = _run(program)
        assert child.process.stdout.readline().strip() == b"done"
        used = seconds_used([child])
        child.process.communicate(b"\n")
        assert used > 0.01


def test_what_never_started_or_has_ended_used_nothing_more():
    ended = _run("pass")
    ended.process.communicate()
    assert seconds_used([Child("never", []), ended]) == 0.0
