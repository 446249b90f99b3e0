"""Changes a folder at random, from another process: `python storm.py FOLDER SEED STEPS`. One seed, one storm."""

import os
import random
import shutil
import sys

folder, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
os.chdir(folder)


def anywhere() -> str:
    """A path that may be there."""
    return "/".join(chance.choice("abcdef") for _ in range(chance.randint(1, 3)))


for _ in range(steps):
    path = anywhere()
    try:
        match chance.randrange(8):
            case 0 | 1 | 2:
                with open(path, "ab") as file:
                    file.write(chance.randbytes(chance.randrange(20)))
            case 3 | 4:
                os.makedirs(path, exist_ok=True)
            case 5:
                os.rename(path, anywhere())
            case 6:
                os.unlink(path)
            case 7:
                shutil.rmtree(path)
    except OSError:
        pass
