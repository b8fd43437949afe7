"""Child processes that never outlive the stack: started, watched, stopped, and found again after a crash."""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline_local_stack.paths import LOGS, RUN, StackError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GIVEN: set[int] = set()


@dataclass(slots=True)
class Child:
    """One process of the stack: how to start it, and the process while it runs."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    cwd: Path | None = None
    scratch: Path | None = None
    """A folder outside the checkout that goes when the process has gone."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """Where standard output and error of the process go."""
        return LOGS / f"{self.name}.log"

    def start(self) -> None:
        """Start the process; its pid is on disk before anything else can happen to us."""
        LOGS.mkdir(parents=True, exist_ok=True)
        RUN.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_inherited_environment(), **self.env},
                user=self.user,
                group=self.user and _group_of(self.user),
                extra_groups=[] if self.user else None,
                cwd=self.cwd,
                start_new_session=True,  # Ctrl-C reaches only the launcher, which stops all in order
                preexec_fn=_die_with_launcher if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread at start
            )
        _note(self.name, self.process.pid, self.stop_signal, self.scratch)

    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is cleaned up."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, grace_seconds: float = 20) -> None:
        """Ask the process to stop, then insist."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        _forget(RUN / f"{self.name}.json")

    def last_words(self, lines: int = 15) -> str:
        """The end of the log, for the message that says why it did not start."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])


_LAUNCHER_NOTE = RUN / "launcher.json"


def refuse_second_launcher() -> None:
    """Return if nobody else runs a stack in this folder.

    Raises:
        StackError: somebody does.
    """
    running = _noted_process(_LAUNCHER_NOTE)
    if running is not None:
        raise StackError(
            f"The local stack is already running (process {running.pid}): stop it with `make down` first."
        )


def note_launcher() -> None:
    """Write down that this process is the one that runs the stack, so that `make down` finds it."""
    RUN.mkdir(parents=True, exist_ok=True)
    _note(_LAUNCHER_NOTE.stem, os.getpid(), signal.SIGTERM)


def forget_launcher() -> None:
    """This process runs the stack no more, though it goes on: a test run starts several, one after the other."""
    _forget(_LAUNCHER_NOTE)


def stop_leftovers(grace_seconds: float = 30) -> list[str]:
    """Stop what another launcher left behind, itself first; the names of what was still running.

    What this process started is no leftover: a test run has a broker and a database of its own beside a stack.
    """
    stopped = []
    notes = sorted(RUN.glob("*.json"), key=lambda f: (f != _LAUNCHER_NOTE, -f.stat().st_mtime))
    for file in notes:
        process = _noted_process(file)
        if process is not None and _launcher_of(file) == os.getpid():
            continue
        if process is not None:
            stopped.append(file.stem)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.Signals[json.loads(file.read_text())["signal"]])
                try:
                    process.wait(grace_seconds)
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait(5)
        _forget(file)
    return stopped


def _note(name: str, pid: int, stop_signal: signal.Signals, scratch: Path | None = None) -> None:
    note = {
        "pid": pid,
        "created": psutil.Process(pid).create_time(),
        "launcher": os.getpid(),
        "signal": stop_signal.name,
        "scratch": scratch and str(scratch),
    }
    (RUN / f"{name}.json").write_text(json.dumps(note))


def _forget(file: Path) -> None:
    """The process of a note has gone: so do its scratch folder and the note."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        scratch = json.loads(file.read_text()).get("scratch")
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    file.unlink(missing_ok=True)


def noted_process(name: str) -> psutil.Process | None:
    """The running process that a launcher, perhaps another one, started under this name; None when there is none."""
    return _noted_process(RUN / f"{name}.json")


def _launcher_of(file: Path) -> int | None:
    """The pid of who started the process of a note."""
    launcher: int | None = json.loads(file.read_text()).get("launcher")
    return launcher


def _noted_process(file: Path) -> psutil.Process | None:
    """The running process of a note; None when it ended.

    A pid alone could meanwhile belong to somebody else's process, so its creation time must match too.
    """
    try:
        note = json.loads(file.read_text())
        process = psutil.Process(note["pid"])
        same = abs(process.create_time() - note["created"]) < 1
        ended = process.status() == psutil.STATUS_ZOMBIE
        return process if same and not ended else None
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        return None


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now, and that this process was not given before.

    It lies below the ports that Linux and macOS hand to outgoing connections (from 32768 and 49152 on): one of
    those could be taken by any connection before its process opens it. And it is left in TIME_WAIT: for a minute
    another process that probes it is refused, while a server, which sets SO_REUSEADDR, can open it.
    """
    while True:
        port = random.randrange(15_000, 32_000)  # noqa: S311 - not a secret
        if port in _GIVEN:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe, socket.socket() as caller:
            probe.bind(("127.0.0.1", port))
            # Set only now: the bind above must fail on a port in TIME_WAIT, which a server can open if this was set.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.listen(1)
            caller.connect(("127.0.0.1", port))
            probe.accept()[
                0
            ].close()  # whoever closes first keeps its end of the connection in TIME_WAIT
            _GIVEN.add(port)
            return port


def wait_until_listening(child: Child, port: int, seconds: float = 60) -> None:
    """Return once something accepts connections on the port.

    Raises:
        StackError: the process ended, or the time ran out; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if not child.is_running():
            raise StackError(
                f"{child.name} ended while starting. Its log ends:\n{child.last_words()}"
            )
        time.sleep(0.05)
    raise StackError(
        f"{child.name} did not open its port within {seconds:.0f} s; see {child.log_file}."
    )


def _inherited_environment() -> dict[str, str]:
    # Not the whole environment: a stray DATABASE_URL or KAFKA_* of the person's shell must not reach a service.
    wanted = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: os.environ[name] for name in wanted if name in os.environ}


def _group_of(user: str) -> int:
    import pwd  # noqa: PLC0415 - does not exist on Windows, where no user is ever given

    return pwd.getpwnam(user).pw_gid


def _die_with_launcher() -> None:
    """In the child, before exec: the kernel sends SIGTERM when the launcher dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
