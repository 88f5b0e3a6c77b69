"""Sentences and UBX messages per second against pynmea2, pynmeagps and pyubx2 in one run; and the long fuzz run.

    python -m tests.benchmarks.parsers [--log NMEA_FILE] [--rounds N]
    python -m tests.benchmarks.parsers --fuzz [--count 1000000] [--seed 1]

Without --log the sentences of a drive through Mountain View in ../shared are taken, else made ones. Each reader parses
the same sentences, one by one, with its checksum checked, and once as a stream of bytes. Rounds alternate; the best of
each counts, which is what a busy machine spoils least.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pynmea2
import pynmeagps
import pyubx2

from gnss.clock import stopwatch
from gnss.framing import Framer
from gnss.nmea_sentence import parse_sentence
from gnss.stream import StreamReader
from gnss.ubx import parse_ubx
from tests.gnss.fuzzing import Fuzz, strings
from tests.gnss.messages import att, cov, esf, gga, line, pvt, rmc

LOG = Path("gnss-logs") / "google-mtv-f9k" / "MTV.Local1.ublox-F9K.20200206-181434.nmea"
KINDS = (b"GGA", b"RMC", b"VTG", b"GSA", b"GST", b"ZDA", b"HDT", b"THS")
PEERS = {"pynmea2": pynmea2.__version__, "pynmeagps": pynmeagps.version, "pyubx2": pyubx2.version}


def made_sentences() -> list[bytes]:
    """GGA, RMC, VTG, GSA and GST of some epochs."""
    said = []
    for second in range(10, 60):
        clock = f"0214{second}.00"
        said += [gga(clock), rmc(clock), line(f"GNGST,{clock},1.2,,,,3.0,4.0,5.5")]
        said += [line("GNVTG,65.13,T,52.07,M,0.028,N,0.053,K,D"), line("GNGSA,A,3,10,28,09,13,,,,,,,,,03.4,01.7,03.0")]
    return [sentence.strip() for sentence in said]


def sentences(file: Path | None) -> list[bytes]:
    """Sentences of the kinds that are used, with right checksums."""
    if file is None:
        return made_sentences()
    found = [text for text in file.read_bytes().split() if text[3:6] in KINDS]
    return [text for text in found if _valid(text)]


def _valid(text: bytes) -> bool:
    try:
        parse_sentence(text)
    except ValueError:
        return False
    return True


def messages() -> list[bytes]:
    """Frames of NAV-PVT, NAV-COV, NAV-ATT and ESF-STATUS in the mixture of a receiver that fuses sensors."""
    return [frame for s in range(10, 60) for frame in (pvt(s), cov(s), att(s), esf(s))]


def per_second(works: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Best number per second of each; rounds alternate between them."""
    best = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, work in works.items():
            read = stopwatch()
            count = work()
            best[name] = max(best[name], count / read())
    return best


def _each(texts: list[bytes], parse: Callable[[bytes], object]) -> Callable[[], int]:
    def work() -> int:
        for text in texts:
            parse(text)
        return len(texts)

    return work


def _stream(data: bytes, count: int) -> Callable[[], int]:
    def work() -> int:
        reader = StreamReader()
        for start in range(0, len(data), 256):  # as a serial line delivers it
            reader.feed(data[start : start + 256], start)
        reader.flush()
        return count

    return work


def _peer_stream(data: bytes, count: int) -> Callable[[], int]:
    def work() -> int:
        for _ in pyubx2.UBXReader(io.BytesIO(data), protfilter=pyubx2.NMEA_PROTOCOL | pyubx2.UBX_PROTOCOL):
            pass
        return count

    return work


def _with_place(text: bytes) -> object:
    """pynmea2 turns an angle into degrees only when it is asked for."""
    message = pynmea2.parse(text.decode("ascii"), check=True)
    return (message.latitude, message.longitude) if hasattr(message, "lat") else message


def throughput(file: Path | None, rounds: int) -> None:
    """Print the table."""
    texts, frames = sentences(file), messages()
    few = texts[: min(len(texts), 3000)]
    nmea = per_second(
        {
            "ours": _each(texts, parse_sentence),
            "pynmea2": _each(texts, _with_place),
            "pynmeagps": _each(few, lambda text: pynmeagps.NMEAReader.parse(text)),
            "ours, stream to fixes": _stream(b"\r\n".join(texts) + b"\r\n", len(texts)),
            "pyubx2, stream": _peer_stream(b"\r\n".join(few) + b"\r\n", len(few)),
        },
        rounds,
    )
    ubx = per_second(
        {
            "ours": _each(frames, lambda frame: parse_ubx(Framer().feed(frame, 0)[0].data)),
            "ours, stream to fixes": _stream(b"".join(frames), len(frames)),
            "pyubx2": _each(frames, lambda frame: pyubx2.UBXReader.parse(frame)),
            "pyubx2, stream": _peer_stream(b"".join(frames), len(frames)),
        },
        rounds,
    )
    print(", ".join(f"{name} {version}" for name, version in PEERS.items()))
    for title, table, peer in (("NMEA sentences", nmea, "pynmeagps"), ("UBX messages", ubx, "pyubx2")):
        print(f"{title} per second (times {peer})")
        for name, value in table.items():
            print(f"  {name:24} {value:10,.0f}  {value / table[peer]:6.1f}x")


def fuzz(count: int, seed: int) -> None:
    """Feed `count` strings; an exception ends the run. Prints the slowest string and the memory on the way."""
    run, pieces, slowest = Fuzz.begin(seed), strings(random.Random(seed + 1)), 0.0
    for part in range(10):
        for data in itertools.islice(pieces, count // 10):
            read = stopwatch()
            run.step(data)
            slowest = max(slowest, read())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{(part + 1) * 10:3d} %: {run.strings:,} strings, {run.size:,} bytes, peak memory {peak / 1024:.1f} MiB")
    print(f"0 exceptions; slowest string {slowest * 1e3:.1f} ms; {run.fixes:,} fixes")
    for reason, number in run.counters.items():
        print(f"  {number:10,}  {reason.value}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fuzz", action="store_true")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.fuzz:
        fuzz(chosen.count, chosen.seed)
        return
    shared = Path(__file__).resolve().parents[3] / "shared" / LOG
    throughput(chosen.log or (shared if shared.exists() else None), chosen.rounds)


if __name__ == "__main__":
    main()
