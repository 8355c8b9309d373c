"""ReplaySampler inside torchdata's StatefulDataLoader, built and driven as verl 0.9.1's trainer does it."""

import io
from itertools import islice

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from recap_verl.replay import Coreset, FollowingSampler, ReplaySampler

DOMAINS = ["math"] * 15 + ["ocr"] * 7 + ["caption"] * 6
TRAIN_BATCH_SIZE = 4


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return len(DOMAINS)

    def __getitem__(self, index):
        return index


class Trainer:
    """The loader of verl/trainer/ppo/v1/trainer_base.py (0.9.1): ``_init_dataloader`` and ``_fetch_one_gen_batch``."""

    def __init__(self, num_workers=0, gen_batch_size=TRAIN_BATCH_SIZE, kind=ReplaySampler, **arguments):
        self.sampler = kind(DOMAINS, TRAIN_BATCH_SIZE, **arguments)
        self.loader = StatefulDataLoader(
            dataset=Rows(),
            batch_size=gen_batch_size,
            num_workers=num_workers,
            drop_last=True,
            collate_fn=list,
            sampler=self.sampler,
        )
        self.iterator = None

    def fetch(self):
        try:
            if self.iterator is None:
                self.iterator = iter(self.loader)
            return next(self.iterator)
        except StopIteration:
            self.iterator = iter(self.loader)
            return next(self.iterator)

    def save(self):
        file = io.BytesIO()
        torch.save(self.loader.state_dict(), file)
        return file.getvalue()

    def load(self, saved):
        self.loader.load_state_dict(torch.load(io.BytesIO(saved), weights_only=False))


def uninterrupted(count, **arguments):
    """The first ``count`` batches of the sampler alone."""
    sampler, batches = ReplaySampler(DOMAINS, TRAIN_BATCH_SIZE, **arguments), []
    while len(batches) < count:
        indices = list(sampler)
        batches += [indices[i : i + TRAIN_BATCH_SIZE] for i in range(0, len(indices), TRAIN_BATCH_SIZE)]
    return batches[:count]


ARGUMENTS = [
    {"mixture": "uniform"},
    {"mixture": "uniform", "exhaust": "stop"},
    {"mixture": {"math": 3, "ocr": 1, "caption": 0}, "seed": 5},
    {"mixture": Coreset("math")},
]


def assert_resumes_after(consumed, num_workers, following, **arguments):
    trainer = Trainer(num_workers, **arguments)
    expected = uninterrupted(consumed + following, **arguments)
    assert [trainer.fetch() for _ in range(consumed)] == expected[:consumed]
    resumed = Trainer(num_workers, **arguments)
    resumed.load(trainer.save())
    assert [resumed.fetch() for _ in range(following)] == expected[consumed:]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_without_workers_resumes_after_any_number_of_batches(arguments):
    for consumed in range(16):
        assert_resumes_after(consumed, 0, 16, **arguments)


@pytest.mark.parametrize("gen_batch_size", [TRAIN_BATCH_SIZE, TRAIN_BATCH_SIZE // 2])
def test_changing_shares_resume_after_any_number_of_batches(gen_batch_size):
    """The trainer sets new shares behind each batch, and saves behind that."""
    parts = TRAIN_BATCH_SIZE // gen_batch_size

    def steps(trainer, numbers):
        drawn = []
        for number in numbers:
            drawn += [trainer.fetch() for _ in range(parts)]
            trainer.sampler.follow({"math": 1.0 + number % 3, "ocr": 1.0, "caption": 0.5 + number % 5})
        return drawn

    straight = steps(Trainer(0, gen_batch_size, FollowingSampler), range(24))
    for consumed in range(16):
        trainer = Trainer(0, gen_batch_size, FollowingSampler)
        steps(trainer, range(consumed))
        resumed = Trainer(0, gen_batch_size, FollowingSampler)
        resumed.load(trainer.save())
        assert steps(resumed, range(consumed, 24)) == straight[consumed * parts :]


# An epoch is seven batches (four with "stop"); two workers prefetch four, over its end.
@pytest.mark.parametrize("arguments", ARGUMENTS[:2], ids=str)
@pytest.mark.parametrize("consumed", [0, 1, 3, 4, 5, 7, 8, 15])
def test_with_prefetching_workers_resumes_to_the_next_batch_not_consumed(consumed, arguments):
    assert_resumes_after(consumed, 2, 9, **arguments)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumes_again_and_again(num_workers):
    expected, saved, batches = uninterrupted(12), None, []
    for _ in range(4):
        trainer = Trainer(num_workers)
        if saved:
            trainer.load(saved)
        batches += [trainer.fetch() for _ in range(3)]
        saved = trainer.save()
    assert batches == expected


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("exhaust", ["reshuffle", "stop"])
def test_resumes_between_whole_epochs(num_workers, exhaust):
    trainer = Trainer(num_workers, exhaust=exhaust)
    epoch = len(trainer.loader)
    expected = uninterrupted(3 * epoch, exhaust=exhaust)
    # A for loop sees the StopIteration, which the loader notes in its state.
    assert list(trainer.loader) == expected[:epoch]
    resumed = Trainer(num_workers, exhaust=exhaust)
    resumed.load(trainer.save())
    assert list(resumed.loader) == expected[epoch : 2 * epoch]
    assert list(resumed.loader) == expected[2 * epoch :]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_goes_back_to_an_earlier_state_of_its_own(num_workers):
    trainer = Trainer(num_workers)
    expected = uninterrupted(9)
    [trainer.fetch() for _ in range(2)]
    saved = trainer.save()
    [trainer.fetch() for _ in range(3)]
    trainer.load(saved)
    trainer.iterator = None
    assert [trainer.fetch() for _ in range(7)] == expected[2:]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_prompts_fetched_one_by_one_make_the_same_batches(num_workers):
    """In verl's asynchronous modes gen_batch_size is 1 and a checkpoint may fall inside a batch."""
    expected = [index for batch in uninterrupted(12) for index in batch]
    trainer = Trainer(num_workers, gen_batch_size=1)
    assert [trainer.fetch()[0] for _ in range(30)] == expected[:30]
    resumed = Trainer(num_workers, gen_batch_size=1)
    resumed.load(trainer.save())
    assert [resumed.fetch()[0] for _ in range(18)] == expected[30:]


def test_the_loader_counts_the_batches_it_yields():
    trainer = Trainer()
    assert len(trainer.loader) == len(DOMAINS) // TRAIN_BATCH_SIZE == len(list(trainer.loader))
    stopping = Trainer(exhaust="stop")
    assert len(stopping.loader) == 4 == len(list(stopping.loader))


def test_a_foreign_state_is_refused_when_iteration_starts():
    trainer = Trainer(seed=1)
    list(islice(trainer.loader, 2))
    other = Trainer(seed=2)
    other.load(trainer.save())
    with pytest.raises(ValueError, match="seed was 1 and is 2"):
        other.fetch()
