"""What an adversary does to a model before using it: artifact(s) in, artifact out, one step per file.

    parse("prune:0.5") -> step;  run(step, [leaked], destination, seed)      one artifact
    parse("average")   -> step;  run(step, copies, destination, seed)        a coalition of recipients
    parse_filter("jpeg:75", canvas, seed) -> filter;  Filtered(suspect, filter) -> suspect     inputs, not artifacts

Every step leaves its sources alone; all but those on classes change weights of carriers only. The arithmetic of each
step is also a public function on arrays, for benchmarks. The randomness here is the adversary's and comes from a seed,
not from our keys.
"""

from onnxfp.attacks.catalogue import CATALOGUE, parse, run
from onnxfp.attacks.filters import Filtered, parse_filter
from onnxfp.attacks.interface import Attack, Step

__all__ = ["CATALOGUE", "Attack", "Filtered", "Step", "parse", "parse_filter", "run"]
