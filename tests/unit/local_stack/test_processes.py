import json
import os
import signal
import socket
import subprocess
import sys
import textwrap

import psutil
import pytest

from pipeline_local_stack import processes
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.processes import Child


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "RUN", tmp_path / "run")
    monkeypatch.setattr(processes, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(processes, "_LAUNCHER_NOTE", tmp_path / "run" / "launcher.json")


def sleeper(name: str = "sleeper") -> Child:
    return Child(
        name, [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)"]
    )


def test_a_child_is_stopped_and_its_note_removed():
    child = sleeper()
    child.start()
    assert child.is_running()
    child.stop()
    assert not child.is_running()
    assert not list(processes.RUN.glob("*.json"))


def started_by_another_launcher(child: Child) -> None:
    note = processes.RUN / f"{child.name}.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"launcher": os.getppid()}))


def test_what_this_process_started_itself_is_no_leftover():
    child = sleeper()
    child.start()
    assert processes.stop_leftovers() == []
    assert child.is_running()
    child.stop()


def test_a_process_that_ran_a_stack_to_its_end_may_run_another():
    processes.note_launcher()
    with pytest.raises(StackError):
        processes.refuse_second_launcher()
    processes.forget_launcher()
    processes.refuse_second_launcher()


def test_what_a_crashed_launcher_left_behind_is_found_and_stopped():
    child = sleeper()
    child.start()
    started_by_another_launcher(child)
    assert processes.stop_leftovers() == ["sleeper"]
    assert not child.is_running()
    assert processes.stop_leftovers() == []


def test_a_note_about_a_pid_that_is_somebody_elses_now_harms_nobody():
    child = sleeper()
    child.start()
    started_by_another_launcher(child)
    note = processes.RUN / "sleeper.json"
    note.write_text(note.read_text().replace('"created": ', '"created": 1'))
    assert processes.stop_leftovers() == []
    assert child.is_running()
    child.stop()


def test_a_second_launcher_is_refused_with_the_way_out():
    other = sleeper("launcher")
    other.start()
    with pytest.raises(StackError, match="make down"):
        processes.refuse_second_launcher()
    other.stop()
    processes.refuse_second_launcher()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere `make down` finds them")
def test_children_die_with_a_launcher_that_is_killed(tmp_path):
    script = textwrap.dedent(f"""
        import pathlib, sys, time
        from pipeline_local_stack import processes
        processes.RUN = pathlib.Path({str(tmp_path / "r")!r})
        processes.LOGS = pathlib.Path({str(tmp_path / "l")!r})
        child = processes.Child("c", [sys.executable, "-c", "import time; time.sleep(600)"])
        child.start()
        print(child.process.pid, flush=True)
        time.sleep(600)
    """)
    launcher = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    child = psutil.Process(int(launcher.stdout.readline()))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    child.wait(10)


def test_a_port_given_to_one_launcher_is_refused_to_another_and_open_to_a_server():
    port = processes.free_port()
    with socket.socket() as another_launcher, pytest.raises(OSError, match="in use"):
        another_launcher.bind(("127.0.0.1", port))
    socket.create_server(("127.0.0.1", port)).close()
