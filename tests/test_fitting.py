import dataclasses

import numpy as np
import pytest

from gdncodec.entropy.bank import fit_bank
from gdncodec.entropy.fitting import fit_contexts
from gdncodec.entropy.regression import fit_groups
from gdncodec.entropy.slices import encode_slice, slice_information


def latents(count, seed):
    """Latents (12, 24, 24) whose scale varies in space, alike in all channels."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = rng.gamma(1.0, 1.0, (4, 4))
        scale = np.kron(coarse, np.ones((6, 6))) * np.geomspace(4, 0.02, 12)[:, None, None]
        made.append(rng.laplace(0, 1, scale.shape).astype(np.float32) * scale)
    return [y.astype(np.float32) for y in made]


@pytest.fixture(scope="module")
def fitted():
    gains = np.repeat(np.geomspace(0.3, 4, 101)[:, None], 12, axis=1).astype(np.float32)
    return (*fit_contexts(lambda _: latents(6, seed=0), gains), gains)


def test_contexts_save_where_scales_vary_together(fitted):
    bank, contexts, report, gains = fitted
    assert report["bits_contexts"] < 0.93 * report["bits_static"]
    fresh = [np.rint(y * gains[50][:, None, None]).astype(int) for y in latents(4, seed=9)]
    with_contexts = sum(slice_information(k, contexts.at(50), bank) for k in fresh)
    blind = contexts.table_of[50][:, :, :1].repeat(16, axis=2)
    without = dataclasses.replace(
        contexts,
        weights=np.zeros_like(contexts.weights),
        neighbour_weights=np.zeros_like(contexts.neighbour_weights),
        table_of=np.broadcast_to(blind, contexts.table_of.shape).copy(),
    )
    assert with_contexts < 0.95 * sum(slice_information(k, without.at(50), bank) for k in fresh)


def test_channels_that_vary_slowly_are_predicted(fitted):
    assert fitted[1].predicted.size == 0  # neighbours in these latents are independent

    def latents_at(_):
        made = latents(4, seed=0)
        for y in made:
            y[3] = np.add.outer(np.arange(24), np.arange(24)) / 2
            y[5] = np.kron(y[5, ::8, ::8], np.ones((8, 8)))
        return made

    gains = np.full((101, 12), 2, np.float32)
    bank, contexts, _ = fit_contexts(latents_at, gains)
    assert contexts.predicted.tolist() == [3, 5]
    fresh = [np.rint(2 * y).astype(int) for y in latents_at(50)]
    plain = dataclasses.replace(contexts, predicted=contexts.predicted[:0])
    bits = [sum(slice_information(k, c.at(50), bank) for k in fresh) for c in (contexts, plain)]
    assert bits[0] < bits[1]


def test_predicted_channels_know_more_than_the_others():
    """Each is alone in one of the last groups, apart from the channels that are there anyway."""
    predicted = np.array([0, 4], np.uint16)
    groups = fit_groups(np.geomspace(4, 0.02, 12), predicted)
    assert groups[predicted].tolist() == [14, 15]
    assert groups[1] < 14


def test_every_quality_is_fitted_to_latents_of_those_near_it():
    asked = []

    def latents_at(quality):
        """Of channel 0 there is something below quality 50 alone, of channel 1 above it alone."""
        asked.append(quality)
        made = latents(2, seed=0)
        for y in made:
            y[:2] = 3 * y[2]
            y[int(quality < 50)] = 0
        return made

    _, contexts, _ = fit_contexts(latents_at, np.ones((101, 12), np.float32))
    assert set(asked) == set(range(0, 101, 5))
    for row in range(101):  # symbols are counted at 45 and 50, and both count in between
        assert list(contexts.at(row).silent[:2]) == [row >= 50, row <= 45]


def test_tables_between_counted_qualities_are_between_theirs():
    def latents_at(quality):
        """The scale of all channels doubles from quality 45 to quality 50."""
        return [y * (1 if quality < 50 else 2) for y in latents(6, seed=0)]

    bank, contexts, _ = fit_contexts(latents_at, np.ones((101, 12), np.float32))
    entropies = np.array([(bank.bits(t) * f / 2**24).sum() for t, f in enumerate(bank.split)])
    means = [entropies[contexts.table_of[row, :6]].mean() for row in range(44, 52)]
    assert means[0] == means[1]
    assert (np.diff(means[1:7]) > 0).all()
    assert means[6] == means[7]


def waking(quality, at=(12,)):
    """Latents whose channels fall into stages: one more is busy from each of these qualities."""
    made = latents(3, seed=0)
    for y in made:
        for stage, channels in enumerate(np.array_split(np.arange(6), len(at))):
            y[channels] = y[6:][channels] if quality < at[stage] else 10 * y[channels]
            y[channels] *= 0.001 if quality < at[stage] else 1
    peak = np.unravel_index(made[0][-1].argmax(), (24, 24))
    made[0][1][peak] = 1.0
    return made


def test_sets_follow_the_quality_at_which_channels_wake():
    _, contexts, _ = fit_contexts(waking, np.ones((101, 12), np.float32))
    assert len(contexts.group_of_channel) == 2
    rare, busy = (contexts.group_of_channel[s][1] for s in (0, 1))
    assert rare > busy
    assert rare < contexts.group_of_channel.max()  # with contexts of its own even so
    assert contexts.weights[0, :, 1].any()
    assert list(contexts.set_of_row[[0, 10, 15, 100]]) == [0, 0, 1, 1]


def test_there_are_as_many_sets_as_stages_at_which_channels_wake():
    def latents_at(quality):
        return waking(quality, at=(23, 68))

    _, contexts, _ = fit_contexts(latents_at, np.ones((101, 12), np.float32))
    assert list(contexts.set_of_row[[10, 30, 60, 75]]) == [0, 1, 1, 2]
    assert (np.diff(contexts.set_of_row) >= 0).all()


def test_many_small_stages_share_sets():
    def latents_at(quality):
        """At every tenth quality, half as many channels again are awake."""
        made = [y.repeat(6, axis=0) for y in latents(2, seed=0)]
        for y in made:
            y[int(1.5 ** (1 + quality / 10)) :] = 0
        return made

    _, contexts, _ = fit_contexts(latents_at, np.ones((101, 72), np.float32))
    assert 5 <= len(contexts.weights) <= 8
    assert (np.diff(contexts.set_of_row.astype(int)) >= 0).all()


def test_a_set_that_no_quality_takes_is_left_out(monkeypatch):
    """Sets for parts of the qualities where nothing changes: all are the same."""
    numbers = [place // 7 for place in range(21)]
    monkeypatch.setattr("gdncodec.entropy.fitting._divide", lambda energies: numbers)
    _, contexts, _ = fit_contexts(lambda _: latents(3, seed=0), np.ones((101, 12), np.float32))
    assert set(contexts.set_of_row) == set(range(len(contexts.weights)))


def test_neighbours_count_where_scales_vary_in_space_alone():
    rng = np.random.default_rng(0)
    scales = [np.kron(rng.gamma(1.0, 1.0, (6, 8, 8)), np.ones((6, 6))) for _ in range(4)]
    made = [(4 * s * rng.laplace(0, 1, s.shape)).astype(np.float32) for s in scales]
    _, contexts, report = fit_contexts(lambda _: made, np.ones((101, 6), np.float32))
    assert (contexts.neighbour_weights[:, 1:] > 50).all()
    assert report["bits_contexts"] < 0.97 * report["bits_static"]


def test_the_report_is_what_coding_takes(fitted):
    bank, contexts, report, gains = fitted
    total = symbols = 0
    for row in range(101):
        for y in latents(6, seed=0)[:2]:
            k = np.rint(y * gains[row][:, None, None]).astype(int)
            k[contexts.at(row).silent] = 0
            total += 8 * len(encode_slice(k, contexts.at(row), bank))
            symbols += k.size
    assert total / symbols == pytest.approx(report["bits_contexts"], rel=0.15)


def test_a_bank_comes_close_to_a_table_for_each_histogram():
    rng = np.random.default_rng(0)
    histograms = np.zeros((300, 2 * 60 + 2))
    for row, scale in enumerate(np.geomspace(0.05, 8, 300)):
        symbols = np.rint(rng.laplace(0, scale, 20000)).astype(int)
        entries = np.where(np.abs(symbols) > 60, 121, symbols + 60)
        histograms[row] = np.bincount(entries, minlength=122)
    bank = fit_bank(histograms, tables=48)
    assert bank.halfwidths.size <= 48
    share = histograms / histograms.sum(axis=1, keepdims=True)
    own = -(share * np.log2(np.where(share > 0, share, 1))).sum()
    costs = np.full((bank.halfwidths.size, 122), 40.0)
    for table, half in enumerate(bank.halfwidths):
        costs[table, 60 - half : 61 + half] = bank.bits(table)[:-1]
    assert own < (share @ costs.T).min(axis=1).sum() < 1.02 * own


def test_symbols_far_outside_are_escaped_and_not_lost():
    histogram = np.zeros((1, 2 * 4 + 2))
    histogram[0, [4, 9]] = [1000, 50]  # zero, and beyond 4
    bank = fit_bank(histogram, tables=1)
    assert bank.bits(0)[-1] == pytest.approx(-np.log2(50 / 1050), abs=0.01)


def test_latents_that_are_all_zero_cost_nothing():
    gains = np.ones((101, 5), np.float32)
    bank, contexts, report = fit_contexts(lambda _: [np.zeros((5, 4, 4), np.float32)], gains)
    assert contexts.at(50).silent.all()
    assert report["bits_contexts"] == 0
    assert encode_slice(np.zeros((5, 4, 4), int), contexts.at(50), bank) == b""
