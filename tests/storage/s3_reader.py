"""What a spawned worker does; alone in a module, so that it need not import what the tests do."""


def read_many(tree, files, times=3):
    assert all(tree.read(name) == data for name, data in files.items() for _ in range(times))
