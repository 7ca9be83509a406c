"""A backup is the same for the same files, tells when it is damaged, and is put back whole or not at all."""

import fcntl
import io
import json
import os
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.operations.access import load_config
from hashmatch.operations.backup import make_backup
from hashmatch.operations.backup_format import CONTENTS, BackupError
from hashmatch.operations.restore import read_backup, restore
from hashmatch.service.data_directory import RESTORING, DataDirectoryError, data_directory
from hashmatch.store.floor import EpochFloor
from hashmatch.trust.audit import AuditLog

SUFFIXES = (".tar", ".tar.zst")


@pytest.fixture
def kept(machine, office, clock):
    """The machine after a list was published: what belongs into a backup, and some things that do not."""
    office.define("alpha")
    EpochFloor(machine.data_dir / "epoch.json").raise_to(office.store.manifests.load())
    with closing(AuditLog(machine.data_dir / "audit.jsonl", clock)) as audit:
        audit.append("define", "ann")
    for name in ("archive", "valkey", "kernels"):
        (machine.data_dir / name).mkdir(mode=0o700)
    machine.write(machine.data_dir / "archive/0123456789abcdef.sealed", os.urandom(300_000), 0o640)
    machine.write(machine.data_dir / "archive/0123456789abcdee.partial", b"not whole")
    machine.write(machine.data_dir / "valkey/valkey.conf", b"of the store")
    machine.write(machine.data_dir / "kernels/cache.nbi", b"can be compiled again")
    machine.write(machine.data_dir / "empty", b"")
    return machine


@pytest.fixture
def back_up(kept):
    def back_up(name="backup.tar", *, with_sealing_key=False):
        config = load_config(str(kept.config_file), ()).config
        target = kept.directory / name
        return make_backup(config, target, settings_file=kept.config_file, with_sealing_key=with_sealing_key)

    return back_up


def tree(directory):
    """Every file below a directory: content and permissions by its name."""
    return {
        path.relative_to(directory).as_posix(): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def belongs(machine):
    left_out = ("valkey/", "kernels/", "archive/0123456789abcdee")
    return {name: file for name, file in tree(machine.data_dir).items() if not name.startswith(left_out)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_files_make_the_same_backup(back_up, suffix):
    first, second = back_up(f"first{suffix}"), back_up(f"second{suffix}")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_restored_is_what_was_there(kept, back_up, tmp_path, suffix):
    made = back_up(f"backup{suffix}", with_sealing_key=True)
    contents = restore(made.path, tmp_path / "new", tmp_path / "configuration", force=False)
    assert contents == made.contents
    assert contents.epoch == 1
    assert tree(tmp_path / "new") == belongs(kept)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert tree(tmp_path / "configuration") == {
        "hashmatch.toml": (kept.config_file.read_bytes(), 0o600),
        "sealing.key": (kept.key_file.read_bytes(), 0o600),
    }
    assert EpochFloor(tmp_path / "new/epoch.json").highest() == 1


def test_the_sealing_key_is_in_it_by_choice_alone(kept, back_up):
    key = kept.key_file.read_bytes()
    without, with_key = back_up("without.tar"), back_up("with.tar", with_sealing_key=True)
    assert (without.contents.has_sealing_key, with_key.contents.has_sealing_key) == (False, True)
    assert key not in without.path.read_bytes()
    assert key in with_key.path.read_bytes()


def test_a_generated_key_is_left_out_as_well(kept, back_up):
    (kept.data_dir / "sealing.key").write_bytes(kept.key_file.read_bytes())
    config = load_config(None, [f"server.data_dir={kept.data_dir}"]).config
    made = make_backup(config, kept.directory / "embedded.tar", settings_file=None, with_sealing_key=False)
    assert kept.key_file.read_bytes() not in made.path.read_bytes()
    made = make_backup(config, kept.directory / "whole.tar", settings_file=None, with_sealing_key=True)
    assert [file.name for file in made.contents.files if file.secret] == ["data/sealing.key"]


def test_every_damage_is_refused_or_does_not_matter(kept, back_up, tmp_path):
    made = back_up("backup.tar")
    whole = made.path.read_bytes()
    damaged = tmp_path / "damaged.tar"
    refused = 0
    for place in range(0, len(whole), 4_999):
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_backup(damaged, None) == made.contents
        except BackupError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_backup_that_was_cut_short_is_refused(back_up, tmp_path, suffix):
    whole = back_up(f"backup{suffix}").path.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    end = whole.rindex(b"CONTENTS.json") if suffix == ".tar" else len(whole) - 1
    for size in (0, 1, 511, 512, 1_024, len(whole) // 2 // 512 * 512, end):
        cut.write_bytes(whole[:size])
        with pytest.raises(BackupError):
            restore(cut, tmp_path / "new", None, force=False)
        assert not (tmp_path / "new").exists()


def rewritten(backup, change):
    """A backup with other members, which `change` makes of a list of (member, content)."""
    with tarfile.open(backup) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    changed = backup.with_name("changed.tar")
    with tarfile.open(changed, "w") as tar:
        for member, content in change(members):
            tar.addfile(member, io.BytesIO(content))
    return changed


def with_member(name, kind=tarfile.REGTYPE):
    def change(members):
        strange = tarfile.TarInfo(name)
        strange.type, strange.linkname = kind, "/etc/passwd"
        return [(strange, b""), *members]

    return change


def with_other_contents(key, value):
    def change(members):
        (member, raw) = members[-1]
        content = json.dumps(json.loads(raw) | {key: value}).encode()
        member.size = len(content)
        return [*members[:-1], (member, content)]

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_member("data/../../escaped"),
        with_member("/data/escaped"),
        with_member("data/.hidden"),
        with_member("data"),
        with_member("other/file"),
        with_member("data/link", tarfile.SYMTYPE),
        with_member("data/link", tarfile.LNKTYPE),
        with_member("data/device", tarfile.CHRTYPE),
        with_member("data/not-listed"),
        lambda members: members[1:],
        lambda members: [members[0], *members],
        lambda members: [*members, members[0]],
        lambda members: members[:-1],
        with_other_contents("version", 2),
        with_other_contents("format", "other"),
        with_other_contents("files", []),
        with_other_contents("unknown", 1),
    ],
)
def test_a_backup_that_is_not_ours_is_refused_and_writes_nothing(back_up, tmp_path, change):
    strange = rewritten(back_up("backup.tar").path, change)
    before = tree(tmp_path)
    with pytest.raises(BackupError):
        restore(strange, tmp_path / "new", tmp_path / "configuration", force=False)
    assert tree(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_a_directory_that_is_not_empty_is_left_alone(kept, back_up):
    made = back_up()
    before = tree(kept.data_dir)
    with pytest.raises(BackupError, match="not empty"):
        restore(made.path, kept.data_dir, None, force=False)
    assert tree(kept.data_dir) == before


def test_what_is_replaced_by_force_is_kept_aside(kept, back_up):
    made, before = back_up(), tree(kept.data_dir)
    for number in (1, 2):
        (kept.data_dir / "audit.jsonl").write_bytes(b"later\n")
        before["audit.jsonl"] = (b"later\n", 0o600)
        restore(made.path, kept.data_dir, None, force=True)
        aside = tree(kept.data_dir / f"replaced-{number}")
        assert aside["audit.jsonl"] == before["audit.jsonl"]
    assert tree(kept.data_dir / "replaced-1") == {n: f for n, f in before.items() if not n.startswith("kernels/")}
    assert (kept.data_dir / "audit.jsonl").read_bytes() != b"later\n"


def test_a_data_directory_in_use_is_not_restored_into(kept, back_up):
    made = back_up()
    with (kept.data_dir / "audit.jsonl").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(BackupError, match="in use"):
            restore(made.path, kept.data_dir, None, force=True)


def test_a_restore_that_did_not_end_keeps_the_server_from_starting_until_it_is_done_again(
    kept, back_up, tmp_path, monkeypatch
):
    made = back_up()
    new = tmp_path / "new"
    moved = []
    rename = Path.rename

    def crash(path, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(target)
        return rename(path, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            restore(made.path, new, None, force=False)
    config = load_config(None, [f"server.data_dir={new}"]).config
    assert (new / RESTORING).exists()
    assert not (new / "epoch.json").exists()
    with pytest.raises(DataDirectoryError, match="did not come to its end"):
        data_directory(config)
    restore(made.path, new, None, force=True)
    assert data_directory(config) == new
    assert belongs(kept).items() <= tree(new).items()


def test_a_backup_is_never_written_over_and_never_left_half_written(kept, back_up, monkeypatch):
    made = back_up()
    before = made.path.read_bytes()
    with pytest.raises(BackupError, match="exists"):
        back_up()
    assert made.path.read_bytes() == before
    (kept.data_dir / "link").symlink_to("/etc/passwd")
    with pytest.raises(BackupError, match="symbolic link"):
        back_up("second.tar")
    assert not list(kept.directory.glob("second*"))


def test_a_backup_does_not_go_where_the_next_one_would_hold_it(kept, back_up):
    with pytest.raises(BackupError, match="is in the data directory"):
        back_up("data/backup.tar")
    assert not list(kept.data_dir.glob("backup*"))


def test_a_floor_that_changes_meanwhile_is_not_backed_up_in_halves(kept, back_up, office):
    (kept.data_dir / "epoch.json").write_bytes(
        (kept.data_dir / "epoch.json").read_bytes().replace(b'"epoch":1', b'"epoch":2')
    )
    with pytest.raises(BackupError, match="different epochs"):
        back_up()


def test_a_record_of_the_audit_log_that_is_being_written_is_left_out(kept, back_up, tmp_path):
    whole = (kept.data_dir / "audit.jsonl").read_bytes()
    with (kept.data_dir / "audit.jsonl").open("ab") as log:
        log.write(b'{"sequence":2,')
    restore(back_up().path, tmp_path / "new", None, force=False)
    assert (tmp_path / "new/audit.jsonl").read_bytes() == whole


def test_the_command_says_what_is_secret_and_what_comes_next(kept, capsys, tmp_path):
    config, new = ("--config", str(kept.config_file)), str(tmp_path / "new")
    assert main(["backup", str(tmp_path / "a.tar.zst"), *config]) is Exit.DONE
    assert "The sealing key is not in it" in capsys.readouterr().out
    assert main(["backup", str(tmp_path / "b.tar.zst"), "--with-sealing-key", *config]) is Exit.DONE
    assert "SECRET: the sealing key is in it" in capsys.readouterr().out
    assert main(["restore", str(tmp_path / "b.tar.zst"), "--dry-run"]) is Exit.DONE
    assert "Whole: epoch 1" in capsys.readouterr().out
    assert main(["restore", str(tmp_path / "a.tar.zst"), "--data-dir", new, "--output", "json"]) is Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert {file["name"] for file in document["files"]} >= {"data/epoch.json", "data/audit.jsonl"}
    assert CONTENTS not in {file["name"] for file in document["files"]}
    assert main(["restore", str(tmp_path / "a.tar.zst"), "--data-dir", new]) is Exit.REFUSED
    assert "not empty" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "a.tar.zst")]) is Exit.USAGE
    assert main(["backup", str(tmp_path / "c.tar"), "--set", "no.such=1"]) is Exit.USAGE
    assert "no.such" in capsys.readouterr().err
