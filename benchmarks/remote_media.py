"""Clips per second out of a store, out of its cache and off the disk, read as a stage reads them.

Encodes clips (360p, 10 s, H.264 + AAC) into a folder, puts them into an S3 server on loopback, and
reads the frames and the sound of all of them in worker processes: from the folder, from the store
with an empty cache, and from the store again. Then as members of shards. The same digests must come
out. A store elsewhere has another latency and bandwidth: the rate of the cold row is a rate of this
machine alone, where client and server share the processors.

    python benchmarks/remote_media.py --clips 200 --workers 2
"""

from __future__ import annotations

import argparse
import resource
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from avrt.config import MediaConfig
from avrt.media import Decoded, read_clip
from avrt.media.processes import map_files
from avrt.media.shards import write_index
from avrt.stores import to_path
from clips import encode_clip, tone
from s3_server import BUCKET, serve_s3


def read_all(paths: list[Path], media: MediaConfig) -> tuple[float, float, list[object]]:
    """Seconds for all clips, without the start of the processes; seconds of processor time of the
    processes, with their start; and what came out of them.
    """
    started: float | None = None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    results: list[object] = []
    again = [paths[0], *paths]  # the first one starts everything
    for _, result in map_files(
        partial(read_clip, media=media, modality="av"),
        again,
        timeout_s=media.timeout_s,
        workers=media.workers,
        ahead=4 * (media.workers or 1),
    ):
        assert isinstance(result, Decoded), result
        assert result.frames is not None
        assert result.waveform is not None
        results.append((result.frames.digest, result.waveform.digest))
        started = started or time.perf_counter()
    assert started is not None
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu_s, results[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serve_s3(with_faults=False) as s3:
        folder = Path(name) / "data"
        folder.mkdir()
        first = encode_clip(folder / "0.mp4", n_frames=250, size=(360, 640), sound=tone(10.0))
        for number in range(1, options.clips):
            (folder / f"{number}.mp4").write_bytes(first.read_bytes())
        names = [f"{number}.mp4" for number in range(options.clips)]
        with tarfile.open(folder / "train-000000.tar", "w") as tar:
            for each in names:
                tar.add(folder / each, each)
        write_index(folder / "train-000000.tar")
        s3.upload(folder)
        media = MediaConfig(cache_dir=Path(name) / "cache", workers=options.workers)
        root, members = to_path(f"s3://{BUCKET}/data"), Path("train-000000.tar")
        size_mb = first.stat().st_size / 2**20
        print(f"{options.clips} clips of {size_mb:.2f} MiB, {options.workers} workers\n")
        print("| read from | clips/s | processor ms per clip |")
        print("| --- | ---: | ---: |")
        expected: list[object] | None = None
        for title, place in (
            ("local disk", folder),
            ("store, empty cache", root),
            ("store, in the cache", root),
            ("local shard, empty cache", folder / members),
            ("shard in the store, by range", root / members),
            ("shard in the store, in the cache", root / members),
        ):
            seconds, cpu_s, results = read_all([place / each for each in names], media)
            expected = expected or results
            assert results == expected, "other media came out"
            rate, cpu_ms = options.clips / seconds, 1000 * cpu_s / options.clips
            print(f"| {title} | {rate:.1f} | {cpu_ms:.0f} |", flush=True)


if __name__ == "__main__":
    main()
