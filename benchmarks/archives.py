"""Archives: a zip of a million members (opening, look-ups, memory of workers), and how fast a tar becomes a zip.

    python benchmarks/archives.py [--members 1000000] [--gigabytes 1] [--data DIR] [--quick]

DATA, a nuScenes folder, gives the pictures and sweeps that fill the tar; without it they are made up. Everything is written to
a temporary folder (--folder names its place) and removed.
"""

from __future__ import annotations

import argparse
import gzip
import io
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from data_open import memory, workers

from dwm.storage import open_tree, zip_tar
from dwm.storage.zips import END, END64, ENTRY, LOCAL, LOCATOR64, UTF8

LOOK_UPS = 20000


def member_name(number: int) -> str:
    return f"sweeps/CAM_FRONT/n015-2018-07-24-11-22-45+0800__CAM_FRONT__{1_532_402_927_612_460 + 83_000 * number}.jpg"


def write_members(path: Path, count: int) -> None:
    """A zip64 archive of tiny members, written by hand: `zipfile` would keep an object of each."""
    with path.open("wb") as file, tempfile.TemporaryFile() as directory:
        at = 0
        for number in range(count):
            name, data = member_name(number).encode(), b"%d" % number
            sizes = (zlib.crc32(data), len(data), len(data), len(name))
            file.write(LOCAL.pack(b"PK\3\4", 20, UTF8, 0, 0, 33, *sizes, 0) + name + data)
            directory.write(ENTRY.pack(b"PK\1\2", 20, 20, UTF8, 0, 0, 33, *sizes, 0, 0, 0, 0, 0, at) + name)
            at += LOCAL.size + len(name) + len(data)
        size = directory.tell()
        directory.seek(0)
        shutil.copyfileobj(directory, file)
        file.write(END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at))
        file.write(
            LOCATOR64.pack(b"PK\6\7", 0, at + size, 1)
            + END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
        )


def look_up(tree, count: int) -> float:
    """Microseconds for a look-up and reading of a tiny member, all over the archive."""
    chosen = random.Random(0).choices(range(count), k=LOOK_UPS)
    names = [member_name(number) for number in chosen]
    started = time.process_time()
    for number, name in zip(chosen, names, strict=True):
        assert tree.read(name) == b"%d" % number
    return 1e6 * (time.process_time() - started) / LOOK_UPS


def forked(tree, count: int, told: multiprocessing.Queue, gate) -> None:
    measured("forked", tree, count, 0.0, 0.0, told, gate)


def spawned(path: str, count: int, told: multiprocessing.Queue, gate) -> None:
    before, _ = memory()
    started = time.perf_counter()
    tree = open_tree(path)
    measured("spawned", tree, count, before, time.perf_counter() - started, told, gate)


def measured(kind: str, tree, count: int, before: float, opened: float, told, gate) -> None:
    each = look_up(tree, count)
    gate.wait()
    private, share = memory()
    gate.wait()
    told.put((kind, opened, each, private - before, share))


def members(folder: Path, count: int) -> None:
    path = folder / "members.zip"
    write_members(path, count)
    program = (
        "import sys, time; from dwm.storage import open_tree; peak = lambda: int(next(line for line in "
        "open('/proc/self/status') if line.startswith('VmHWM')).split()[1]) / 1024; before, started = peak(), time.time(); "
        "open_tree(sys.argv[1]); print(time.time() - started, peak() - before)"
    )
    told = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    seconds, peak = map(float, told.stdout.split())
    table = sum(file.stat().st_size for file in (folder / ".dwm").rglob("*.arrow"))
    print(f"{count:,} members: table of {table / 1e6:.0f} MB, built in {seconds:.1f} s with {peak:.0f} MB at most")
    tree = open_tree(path)
    print(f"{'worker':>8} {'open':>10} {'read one':>10} {'private':>9} {'share':>9}")
    found = workers("fork", forked, tree, count) + workers("spawn", spawned, str(path), count)
    for kind, opened, each, private, share in found:
        print(f"{kind:>8} {1e3 * opened:7.1f} ms {each:7.1f} µs {private:6.0f} MB {share:6.0f} MB")


def contents(data: Path | None) -> list[tuple[str, bytes]]:
    """Files such as a car records in a twelfth of a second: six pictures and about two sweeps."""
    if data is not None:
        files = [file for ending in ("*.jpg", "*.bin") for file in sorted((data / "samples").rglob(ending))]
        found = [(file.name, file.read_bytes()) for file in files]
        return found + [(f"second-{name}", content) for name, content in found if name.endswith(".bin")]
    made = np.random.default_rng(0)
    points = made.normal(0, 20, (34_688, 5)).astype(np.float32)
    points[:, 3:] = made.integers(0, 32, (34_688, 2))
    pictures = [(f"{view}.jpg", made.bytes(145_000)) for view in range(6)]
    return [*pictures, ("0.pcd.bin", points.round(2).tobytes()), ("1.pcd.bin", points.round(2).tobytes())]


def write_tar(path: Path, size: float, packed: bool, data: Path | None) -> None:
    files, written, number = contents(data), 0, 0
    with (
        gzip.open(path, "wb", compresslevel=1) if packed else path.open("wb") as file,
        tarfile.open(fileobj=file, mode="w") as archive,
    ):
        while written < size:
            for name, content in files:
                info = tarfile.TarInfo(f"sweeps/{number:06d}-{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
                written += len(content)
            number += 1


def packing(folder: Path, gigabytes: float, data: Path | None) -> None:
    plain, packed, out = folder / "in.tar", folder / "in.tgz", folder / "out.zip"
    write_tar(plain, gigabytes * 1e9, False, data)
    write_tar(packed, gigabytes * 1e9, True, data)
    content = plain.stat().st_size / 1e6
    unpacked = folder / "unpacked"

    def unpack(path: Path) -> None:
        unpacked.mkdir()
        subprocess.run(["tar", "-xf", path, "-C", unpacked], check=True)

    ways = (
        ("cp in.tar", lambda: shutil.copyfile(plain, out)),
        ("tar -xf in.tar", lambda: unpack(plain)),
        ("zip of in.tar, one thread", lambda: zip_tar(plain, out, threads=1)),
        ("zip of in.tar", lambda: zip_tar(plain, out)),
        ("zip of in.tar, all stored", lambda: zip_tar(plain, out, deflated=())),
        ("zip of in.tar, --verify", lambda: zip_tar(plain, out, verify=True)),
        ("tar -xzf in.tgz", lambda: unpack(packed)),
        ("zip of in.tgz", lambda: zip_tar(packed, out)),
    )
    print(f"\n{content:.0f} MB in a tar ({packed.stat().st_size / 1e6:.0f} MB packed), {os.cpu_count()} cores")
    print(f"{'':26} {'seconds':>8} {'MB/s':>8} {'core s':>8}")
    for name, way in ways:
        used, started = cpu(), time.perf_counter()
        way()
        os.sync()
        seconds = time.perf_counter() - started
        print(f"{name:26} {seconds:8.1f} {content / seconds:8.0f} {cpu() - used:8.1f}", flush=True)
        shutil.rmtree(unpacked, ignore_errors=True)
        out.unlink(missing_ok=True)


def cpu() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of both")
    wanted = parser.parse_args()
    part = 10 if wanted.quick else 1
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        members(Path(folder), wanted.members // part)
        packing(Path(folder), wanted.gigabytes / part, wanted.data)


if __name__ == "__main__":
    main()
