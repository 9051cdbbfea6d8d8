"""How near numbers are that two programs came to."""


def off(one, other):
    """Largest difference relative to the largest number of `one`."""
    return float((one - other).abs().max()) / float(one.abs().max())


def assert_near(ours, theirs, most=1e-5):
    """Tensors by name: each differs from its like by at most so much of that one's largest number, and is 0 where that is."""
    assert ours.keys() == theirs.keys() and ours
    for name, expected in theirs.items():
        apart, largest = (float(one.detach().abs().max()) for one in (expected.double() - ours[name].double(), expected.double()))
        assert apart <= most * largest, f"{name}: {apart:.3g} of {largest:.3g}"


def gradients(module):
    """By name, of what has one."""
    return {name: one.grad for name, one in module.named_parameters() if one.grad is not None}
