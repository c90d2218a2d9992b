"""What goes wrong on the way to a data set."""

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from iaemu_likelihood.emulator.datasets import making


def interrupt(recipe, out, at, make):
    """Make a data set up to one of its shards."""
    make_shard = making.make_shard

    def interrupted(recipe, shard, tabulation):
        if shard == at:
            raise KeyboardInterrupt
        return make_shard(recipe, shard, tabulation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "make_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(recipe, out)
    assert len(shards_of(out)) == at


def shards_of(out):
    return sorted(Path(f"{out}.shards").glob("0*.hdf5"))


def flip_bit(path, share):
    """Of a byte at some share of a file."""
    content = bytearray(path.read_bytes())
    content[int(share * (len(content) - 1))] ^= 1
    path.write_bytes(content)


@contextmanager
def file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
