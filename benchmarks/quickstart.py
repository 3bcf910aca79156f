"""How long the quickstart takes, how much memory, and what comes out: `python benchmarks/quickstart.py [RUN]`.

Runs the command as a user does, in a folder of its own, and prints seconds by stage, peak resident memory of the
process and the before/after figures. RUN is `tinyworld` (default) or another run file.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time


def main() -> None:
    run = sys.argv[1] if len(sys.argv) > 1 else "tinyworld"
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        command = [sys.executable, "-m", "rlaif", "run", run, "--out", "run", "--json"]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - begun
    data = json.loads(done.stdout.splitlines()[-1])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"whole process   {seconds:8.1f} s   peak memory {peak:.2f} GiB   rollouts by {data['rollout']['engine']}")
    for stage, took in data["seconds"]["by_stage"].items():
        print(f"  {stage:<12} {took:10.1f} s")
    for key, values in data["oracle"].items():
        print(f"{key:<14} " + "  ".join(f"{name} {value:6.1%}" for name, value in values.items()))
    print("distinct       " + "  ".join(f"{name} {value:6.1%}" for name, value in data["distinct"].items()))
    labels, critic = data["labels"], data["critic"]
    print(f"labels         {labels['count']} pairs, {labels['failed']} failed, oracle {labels['oracle_accuracy']:.1%}")
    print(f"critic         policy beats SFT {critic['win_rate']:.1%}, start {critic['win_rate_against_start']:.1%}")
    print(f"KL             {data['kl']:.2f} nats a reply")


if __name__ == "__main__":
    main()
