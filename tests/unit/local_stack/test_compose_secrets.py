import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline_local_stack.composed import secret_files
from pipeline_local_stack.composed.secret_files import make_secrets
from pipeline_local_stack.identities import PEOPLE, read_identities


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_secrets_are_made_once_and_never_changed(tmp_path):
    folder = tmp_path / "made" / "secrets"
    assert make_secrets(folder)
    before = content(folder)
    assert not make_secrets(folder)
    assert content(folder) == before
    assert [each.name for each in folder.parent.iterdir()] == ["secrets"]
    other = tmp_path / "other"
    make_secrets(other)
    assert not [name for name, bytes_ in content(other).items() if bytes_ == before[name]]


def test_of_several_at_once_one_makes_them_whole(tmp_path):
    folder = tmp_path / "secrets"
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: make_secrets(folder), range(8)))
    assert made.count(True) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["secrets"]


def test_what_is_cut_off_leaves_nothing_half(tmp_path, monkeypatch):
    def fails():
        raise KeyboardInterrupt

    monkeypatch.setattr(secret_files, "_texts", fails)
    with pytest.raises(KeyboardInterrupt):
        make_secrets(tmp_path / "secrets")
    assert not [*tmp_path.iterdir()]


def test_others_of_this_machine_are_kept_out_and_containers_are_not(tmp_path):
    folder = tmp_path / "secrets"
    make_secrets(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o444}


def test_identities_are_read_back(tmp_path):
    make_secrets(tmp_path / "secrets")
    identities = read_identities(tmp_path / "secrets")
    assert {PEOPLE, "connector", "pipeline-backend"} <= identities.keys.keys()
    assert identities.service_token("pipeline-backend", "connector")
