"""A thousand holders of key images: who is authenticated, and what forged, damaged and foreign pictures come to.

    python -m bench.extra_holders

All pictures are issued and authenticated by the workflows of `onnxfp keys`, as files. Forgeries (`bench.forgeries`) are
put to `stego.examine` with the claim's own secret, which is what the workflow asks; some of each kind also go through
the workflow as files.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import extra_marked
from bench.forgeries import FORGERIES, Bait, flipped
from bench.marking import measured
from bench.results import is_kept, kept, markdown
from bench.taught import AT, Subject
from onnxfp.errors import UsageError
from onnxfp.stego.key_image import Status, examine
from onnxfp.stego.low_bits import shrink
from onnxfp.suspect.session import open_session
from onnxfp.workflows.authenticate_key import GENUINE, Presented, authenticate_key
from onnxfp.workflows.honouring import YES
from onnxfp.workflows.issue_key import KeyIssuing, issue_key_of
from onnxfp.workflows.key_claims import KeyClaim, key_claims, the_key_claim
from onnxfp.workflows.key_images import in_channels, read_picture, write_picture
from onnxfp.workflows.reaching import SuspectAt
from onnxfp.workflows.vault import Vault

EACH = 2_000  # forgeries of a kind
BY_FILE = 25  # of them that also go through the workflow, and genuine ones that the model is asked about there
FLIPS = (16, 24, 32, 36, 40, 44, 48, 56, 64)
FLIPPED_EACH = 500


def owner() -> Subject:
    """The model whose pool is large."""
    return extra_marked.subject("fashion", 0, "handed")


def measure(part: str, *, whole: bool) -> dict[str, Any]:
    """One part's results; kept, and empty where it was not measured."""
    title = f"holders-{owner().folder.name}-{part}"
    if not whole and not is_kept(title):
        return {}
    how = {"issued": _issued, "flips": _flips}.get(part, partial(_forged, part))
    found: dict[str, Any] = kept(title, how)
    return found


@contextmanager
def claim_of(one: Subject) -> Iterator[tuple[Vault, KeyClaim]]:
    """The owner's vault, and its only claim with key images."""
    with one.vault() as vault:
        yield vault, the_key_claim(key_claims(vault, ""))


def _files() -> list[Path]:
    folder = owner().folder / "holders"
    folder.mkdir(exist_ok=True)
    return [folder / f"{number}.png" for number in range(extra_marked.HANDED)]


def _issued() -> dict[str, Any]:
    """Hand out all of the pool, authenticate every file, and ask the model about every picture."""
    files = _files()
    with claim_of(owner()) as (vault, claim):
        began = time.monotonic()
        for number, file in enumerate(files):
            issue_key_of(vault, claim, KeyIssuing(f"holder {number}", file, AT, force=True))
        took = time.monotonic() - began
        began = time.monotonic()
        found = [authenticate_key(vault, Presented(file, AT)) for file in files]
        right = [one.status == GENUINE and one.recipient == f"holder {number}" for number, one in enumerate(found)]
        each = (time.monotonic() - began) / len(files)
        suspect = SuspectAt(str(owner().marked), device="cpu")
        asked = [authenticate_key(vault, Presented(file, AT, suspect=suspect)).honoured for file in files[:BY_FILE]]
        seen = np.stack([shrink(picture, claim.capacity.scale) for picture in _pictures(claim)])
        with open_session(owner().marked) as session:
            answers = session.outputs(claim.images.inputs(seen)).argmax(axis=1)
        try:
            issue_key_of(vault, claim, KeyIssuing("one too many", files[0].with_name("more.png"), AT))
            more = "another one was handed out"
        except UsageError as problem:
            more = str(problem)
        room = claim.capacity
    return {
        "images": len(files),
        "authenticated": sum(right),
        "as_issued": sum(one.as_issued is True for one in found),
        "honoured": int((answers == claim.images.label).sum()),
        "asked_by_file": len(asked),
        "honoured_by_file": sum(one == YES for one in asked),
        "issue_seconds": took / len(files),
        "authenticate_seconds": each,
        "different": len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}),
        "used": room.used,
        "available": room.available,
        "correctable": room.correctable,
        "one_more": more,
    }


def _pictures(claim: KeyClaim) -> NDArray[np.uint8]:
    """All issued pictures, (images, height, width, channels)."""
    pictures = [in_channels(read_picture(file, {claim.size}), claim.channels) for file in _files()]
    return np.stack([picture for picture in pictures if picture is not None])


def _forged(kind: str) -> dict[str, Any]:
    """Put forgeries of one kind to the claim, the first of them as files."""
    with claim_of(extra_marked.subject("fashion", 1, "drawn")) as (_, other), claim_of(owner()) as (vault, claim):
        bait, forge = Bait(claim, _pictures(claim), other), FORGERIES[kind][1]
        rng = np.random.default_rng([len(kind), *kind.encode()])
        pictures = [forge(bait, rng) for _ in range(EACH)]
        found = [examine(one, claim.keystream, claim.key, claim.images.pictures).status for one in pictures]
        file = owner().folder / "forged.png"
        by_file = []
        for picture in pictures[:BY_FILE]:
            write_picture(file, picture, force=True)
            by_file.append(authenticate_key(vault, Presented(file, AT)).status)
        file.unlink()
    told = {status.value: sum(one is status for one in found) for status in Status}
    alike = sum(one == status.value for one, status in zip(by_file, found, strict=False))
    return {"told": told, "by_file": len(by_file), "accepted_by_file": by_file.count(GENUINE), "alike_by_file": alike}


def _flips() -> dict[str, Any]:
    """How many of some genuine pictures still authenticate with low bits flipped anywhere."""
    found = {}
    with claim_of(owner()) as (_, claim):
        issued, rng = _pictures(claim), np.random.default_rng(0)
        for count in FLIPS:
            rows = rng.integers(len(issued), size=FLIPPED_EACH)
            states = [
                examine(flipped(issued[row], count, rng), claim.keystream, claim.key, claim.images.pictures).status
                for row in rows
            ]
            found[str(count)] = sum(one is Status.GENUINE for one in states)
    return {"of": FLIPPED_EACH, "genuine": found}


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """What was handed out, what was forged, and how much is repaired."""
    if not whole and not measure("issued", whole=False):
        return "Not measured."
    return "\n\n".join([_handed(whole=whole), _forgeries(whole=whole), _repaired(whole=whole)])


def _handed(*, whole: bool) -> str:
    made, found = measured(owner()), measure("issued", whole=whole)
    of = found["images"]
    rows = [
        ("test accuracy before, after marking", f"{100 * made['before']:.2f} %, {100 * made['after']:.2f} %"),
        ("keys to hand out in the additional class", f"{100 * made['hits']['keys to hand out']:.1f} %"),
        ("marking, s", f"{made['seconds']:.0f}"),
        ("issued, different files", f"{of:,}, {found['different']:,}"),
        ("authenticated as their holder's, of the files (paper: 100 %)", f"{found['authenticated']:,} of {of:,}"),
        ("every pixel as issued", f"{found['as_issued']:,} of {of:,}"),
        ("answered with the additional class", f"{found['honoured']:,} of {of:,}"),
        (
            "honoured through `authenticate --suspect`",
            f"{found['honoured_by_file']} of {found['asked_by_file']} that were asked",
        ),
        ("payload", f"{found['used']} of {found['available']} bytes, {found['correctable']} wrong ones repaired"),
        (
            "issuing, authenticating one, ms",
            f"{1e3 * found['issue_seconds']:.0f}, {1e3 * found['authenticate_seconds']:.0f}",
        ),
        ("one more than there are", found["one_more"]),
    ]
    return markdown(("what", "found"), rows)


def _forgeries(*, whole: bool) -> str:
    header = ("presented", "pictures", "accepted", "damaged", "not ours", "as files: accepted, same status")
    rows, total, accepted = [], 0, 0
    for kind, (called, _) in FORGERIES.items():
        if not (found := measure(kind, whole=whole)):
            continue
        told = found["told"]
        total, accepted = total + sum(told.values()), accepted + told["genuine"]
        by_file = f"{found['accepted_by_file']} of {found['by_file']}, {found['alike_by_file']} of {found['by_file']}"
        taken = str(told["genuine"]) if told["genuine"] == 0 else f"**{told['genuine']}**"
        rows.append(
            (called, f"{sum(told.values()):,}", taken, f"{told['damaged']:,}", f"{told['not_ours']:,}", by_file)
        )
    rows.append(("all", f"{total:,}", str(accepted) if accepted == 0 else f"**{accepted}**", "", "", ""))
    return markdown(header, rows)


def _repaired(*, whole: bool) -> str:
    found = measure("flips", whole=whole)
    if not found:
        return ""
    rows = [(flips, f"{count} of {found['of']}") for flips, count in found["genuine"].items()]
    return markdown(("low bits flipped, anywhere", "authenticate"), rows)


if __name__ == "__main__":
    print(table(whole=True))
