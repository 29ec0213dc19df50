import torch

from dwm.devices import send, send_numbers, send_together

META = torch.device("meta")


def test_what_goes_together_keeps_its_names_shapes_and_numbers() -> None:
    given = {
        "a": torch.rand(2, 3),
        "none": None,
        "flag": torch.tensor([True, False]),
        "b": torch.rand(()),
        "e": torch.rand(0, 4),
    }
    copies = send_together(given, "cpu")
    assert list(copies) == list(given) and copies["none"] is None
    assert all(torch.equal(copies[name], given[name]) for name in ("a", "flag", "b", "e"))
    there = send_together(given, META)
    for name in ("a", "flag", "b", "e"):
        assert there[name].device == META
        assert (there[name].shape, there[name].dtype) == (given[name].shape, given[name].dtype)


def test_one_copy_is_made_for_each_dtype() -> None:
    given = {str(i): torch.rand(4) for i in range(3)} | {"flag": torch.ones(2, dtype=torch.bool)}
    there = send_together(given, META)
    assert all(there[name].storage_offset() == 4 * int(name) for name in "012")
    assert there["flag"].storage_offset() == 0


def test_numbers_and_tensors_arrive() -> None:
    assert send_numbers([3, 1], "cpu").tolist() == [3, 1]
    assert send_numbers([True], META).dtype == torch.bool
    tensor = torch.rand(2)
    assert send(tensor, "cpu") is tensor and send(tensor, META).device == META
