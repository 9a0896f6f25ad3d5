"""Archives that are damaged or mean harm end in one DataError, and nothing is ever written."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile

import pytest

from dlcli.datasets import archives
from dlcli.datasets.archives import members
from dlcli.errors import DataError

CONTENT = {"folder/a.txt": b"first", "folder/b.bin": bytes(range(256)) * 50}


def tar(path, *entries, mode="w:gz"):
    """entries: (name, content) or a TarInfo."""
    with tarfile.open(path, mode) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                member = tarfile.TarInfo(entry[0])
                member.size = len(entry[1])
                archive.addfile(member, io.BytesIO(entry[1]))
    return path


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def packed(path, *entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def good(tmp_path, suffix):
    if suffix == ".zip":
        return packed(tmp_path / "good.zip", *CONTENT.items())
    return tar(tmp_path / f"good{suffix}", *CONTENT.items(), mode="w" if suffix == ".tar" else "w:gz")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ".zip"])
def test_regular_files_come_out_in_order(tmp_path, suffix):
    assert dict(members(good(tmp_path, suffix))) == CONTENT


HARMFUL = {
    "a parent folder": (("../escape.txt", b"x"),),
    "an absolute path": (("/tmp/escape.txt", b"x"),),
    "a parent within": (("a/../../escape.txt", b"x"),),
    "a backslash": (("..\\escape.txt", b"x"),),
    "a symbolic link": (special("link", tarfile.SYMTYPE, "/etc"), ("link/passwd", b"x")),
    "a hard link": (special("link", tarfile.LNKTYPE, "/etc/passwd"),),
    "a device": (special("null", tarfile.CHRTYPE),),
    "a pipe": (special("pipe", tarfile.FIFOTYPE),),
    "one name twice": (("a.txt", b"1"), ("a.txt", b"2")),
}


@pytest.mark.parametrize("harm", HARMFUL)
def test_members_that_mean_harm_are_refused_and_nothing_is_written(tmp_path, harm):
    path = tar(tmp_path / "x.tar.gz", *HARMFUL[harm])
    with pytest.raises(DataError, match=r"outside of the archive|no regular file|occurs twice") as caught:
        list(members(path))
    assert len(caught.value.message) <= 200
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../escape.txt", "/tmp/escape.txt"])
def test_a_zip_cannot_leave_its_folder_either(tmp_path, name):
    with pytest.raises(DataError, match="outside of the archive"):
        list(members(packed(tmp_path / "x.zip", (name, b"x"))))


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with pytest.raises(DataError, match="no regular file"):
        list(members(packed(tmp_path / "x.zip", (link, b"/etc/passwd"))))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_in_a_zip_is_refused(tmp_path):
    with pytest.raises(DataError, match="occurs twice"):
        list(members(packed(tmp_path / "x.zip", ("a", b"1"), ("a", b"2"))))


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
def test_a_truncation_anywhere_is_refused(tmp_path, suffix):
    content = good(tmp_path, suffix).read_bytes()
    path = tmp_path / f"cut{suffix}"
    # Behind its mark of two empty blocks a plain tar is padded: a cut in there takes nothing away.
    end = len(content.rstrip(b"\0")) + 1023 if suffix == ".tar" else len(content) - 1
    for size in {0, 1, *range(512, end, 512), *range(10, end, max(1, end // 60)), end}:
        path.write_bytes(content[:size])
        with pytest.raises(DataError):
            list(members(path))


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_flipped_bit_never_changes_the_content_unnoticed(tmp_path, suffix):
    content = good(tmp_path, suffix).read_bytes()
    path = tmp_path / f"flipped{suffix}"
    noticed = 0
    for position in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            found = dict(members(path))
        except DataError:
            noticed += 1
            continue
        assert list(found.values()) == list(CONTENT.values())  # a name, a date or a comment may differ
    assert noticed > len(content) / 6


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_bomb_stops_early(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 20)
    zeros = bytes(8 << 20)
    path = tmp_path / f"bomb{suffix}"
    path = packed(path, ("zeros", zeros)) if suffix == ".zip" else tar(path, ("zeros", zeros))
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        list(members(path))


def test_a_member_that_declares_too_much_is_refused_unread(tmp_path):
    member = tarfile.TarInfo("huge")
    member.size = 1 << 40
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf()))
    with pytest.raises(DataError, match="has 1099511627776 bytes"):
        list(members(path))


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "GREATEST_MEMBERS", 10)
    with pytest.raises(DataError, match="more than 10 members"):
        list(members(tar(tmp_path / "x.tar", *((f"{i}", b"x") for i in range(20)), mode="w")))


def test_a_zip_with_a_long_list_is_refused_before_the_list_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "GREATEST_LIST", 500)
    path = packed(tmp_path / "x.zip", *((f"{i}", b"x") for i in range(20)))
    with pytest.raises(DataError, match="too many members: their list alone takes"):
        list(members(path))


def test_a_member_without_a_name_is_damage(tmp_path):
    """A fuzzer's find."""
    path = packed(tmp_path / "x.zip", ("a", b"x"))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 28 : entry + 30] = bytes(2)  # the length of the name
    del content[entry + 46]
    end = content.index(b"PK\x05\x06")
    content[end + 12 : end + 16] = (end - entry).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        list(members(path))


def test_an_archive_of_another_kind_is_damaged(tmp_path):
    for suffix in (".tar.gz", ".zip", ".tar"):
        path = tmp_path / f"page{suffix}"
        path.write_text("<html>404</html>" * 100)
        with pytest.raises(DataError, match="is damaged"):
            list(members(path))


def test_a_zip_that_declares_too_little_is_not_unpacked_to_find_out(tmp_path):
    """The size of a member is written twice; a bomb may lie about both."""
    path, size = tmp_path / "a.zip", 200 << 20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(size))
    path.write_bytes(path.read_bytes().replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(DataError):
        list(members(path))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20
