"""The card's table of parts."""

from frame.sharing.card import _arguments


def test_networks_within_a_network_are_listed() -> None:
    head = {"_target_": "frame.architectures.heads.DeltaHead", "n_in": 32, "z_dim": "${params.z_dim}"}
    node = {"_target_": "frame.architectures.base.Encoder", "backbone": {"_target_": "conv.Backbone"}, "head": head}
    told = _arguments({**node, "field": None, "tokens": "first", "options": {"a": 1}})
    assert told == ", backbone (`conv.Backbone`), head (`frame.architectures.heads.DeltaHead`, n_in 32), tokens first"
