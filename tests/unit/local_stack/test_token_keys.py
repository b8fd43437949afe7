import base64
import stat

from pipeline_local_stack.token_keys import new_key, version_of, write_keys


def test_a_new_key_is_a_line_the_connector_reads():
    line = new_key(12)
    assert version_of(line) == 12
    assert len(base64.b64decode(line.partition(":")[2])) == 32
    assert new_key(12) != line


def test_the_file_is_its_owners_alone_and_replaced_whole(tmp_path):
    file = tmp_path / "keys" / "token-keys"
    write_keys(["v2:b", "v1:a"], file)
    write_keys(["v2:b"], file)
    assert file.read_text() == "v2:b\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [child.name for child in file.parent.iterdir()] == ["token-keys"]
