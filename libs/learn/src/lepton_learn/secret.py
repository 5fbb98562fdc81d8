"""The secret of a private training, which its noise and its sampling hang on.

Noise that can be computed again protects nobody. So it does not come from the training's seed, which
everybody may know, but from 256 bits of the operating system's randomness. They are kept beside the job,
where its checkpoints are: with the same secret a training that was resumed ends with the weights of one that
nothing happened to, and what is computed a second time tells no more than the first.

The generators behind it (Philox) are as good as any for statistics, but nobody vouches for them against a
cryptanalyst, and Gaussian noise in floating point has gaps that one could look for: Mironov, 2012.
"""

import hashlib
import secrets

from lepton_common.objects import ObjectStore

_BYTES = 32


def new() -> bytes:
    """A secret that nobody knows."""
    return secrets.token_bytes(_BYTES)


def kept(store: ObjectStore, key: str) -> bytes:
    """The secret at a key of the object store, made if there is none: the first writer decides.

    Raises:
        DependencyUnavailable: the store does not answer.
    """
    store.put(key, new(), if_absent=True)
    return store.get(key)


def derive(secret: bytes, purpose: str) -> bytes:
    """16 bytes for one purpose, from which neither the secret nor those for another can be told."""
    return hashlib.blake2b(purpose.encode(), key=secret, digest_size=16).digest()
