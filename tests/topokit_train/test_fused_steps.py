"""Fused steps against torch's own optimizers and autograd."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import topokit
from topokit import Topology
from topokit._native import description, native
from topokit.errors import InvalidSpecError
from topokit_train import SparseLinear, TrainConfig, sparsify
from topokit_train.fused_steps import FusedSteps, fused_steps
from topokit_train.layers.stacks import StackedLinear, StackedSparse
from topokit_train.methods import Callback
from topokit_train.optimisation import make_scheduler
from topokit_train.training import Trainer

pytestmark = pytest.mark.skipif(native() is None, reason=description())

NET = topokit.topology("radix-net radices=4,4 kron=3,2,1 crop=45,31,16")
OPTIMIZERS = [
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.01, "betas": (0.8, 0.9), "eps": 1e-3}),
    ("AdamW", {"weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {}),
]
SAMPLES, CLASSES, STEPS = 300, 5, 20


def data(dtype, generator):
    inputs = torch.rand(SAMPLES, *NET.widths[:1], generator=generator, dtype=dtype)
    return inputs, torch.randint(CLASSES, (SAMPLES,), generator=generator)


def network(dtype, seed=0):
    """A perceptron with sparse layers and a dense one, and ReLU between them."""
    torch.manual_seed(seed)
    parts = [nn.Linear(45, 31), nn.ReLU(), nn.Linear(31, 16), nn.ReLU(), nn.Linear(16, CLASSES)]
    return sparsify(nn.Sequential(*parts), NET, kernel="native", init="he").to(dtype)


def batches(generator, networks=1):
    """Batches of several sizes, the last one small."""
    for number in range(STEPS):
        size = (100, 64, 7)[number % 3]
        index = torch.stack([torch.randperm(SAMPLES, generator=generator)[:size] for _ in range(networks)], 1)
        yield index[:, 0] if networks == 1 else index


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_steps_equal_those_of_torch(name, settings, dtype, threads, torch_threads):
    torch_threads(threads)
    generator = torch.Generator().manual_seed(1)
    inputs, labels = data(dtype, generator)
    ours, theirs = network(dtype), network(dtype)
    one, two = (getattr(torch.optim, name)(model.parameters(), lr=1e-2, **settings) for model in (ours, theirs))
    layers = [(ours[0], True), (ours[2], True), (ours[4], False)]
    half = STEPS // 2
    fused = FusedSteps(layers, one, inputs, labels)
    every = list(batches(generator))

    def unfused(model, optimizer, index):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[index]), labels[index])
        loss.backward()
        optimizer.step()
        return loss.detach()

    losses = []
    with fused.steps():
        losses += [fused(index)[0] for index in every[:half]]
    losses += [unfused(ours, one, index) for index in every[half : half + 3]]  # any other step can follow
    with fused.steps():
        losses += [fused(index)[0] for index in every[half + 3 :]]
    wanted = [unfused(theirs, two, index) for index in every]
    exact = dtype == torch.float64
    close = {"rtol": 1e-10, "atol": 1e-12} if exact else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(torch.stack(losses).double(), torch.stack(wanted).double(), **close)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, **close)
        assert one.state[mine].keys() == two.state[other].keys()
        for key, value in two.state[other].items():
            if value is not None:
                torch.testing.assert_close(one.state[mine][key], value, rtol=1e-6, atol=1e-12 if exact else 1e-6)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_stacked_networks_do_what_each_does_alone(shared, threads, torch_threads):
    torch_threads(threads)
    networks, dtype = 3, torch.float32
    generator = torch.Generator().manual_seed(2)
    inputs, labels = data(dtype, generator)
    alone = [network(dtype, seed) for seed in range(networks)]
    parts = [
        StackedSparse(NET.layer(0), networks, shared=shared, kernel="native", device="cpu"),
        StackedSparse(NET.layer(1), networks, shared=False, kernel="native", device="cpu"),
        StackedLinear(networks, 16, CLASSES, shared=False, device="cpu"),
    ]
    with torch.no_grad():
        for part, number in zip(parts, (0, 2, 4), strict=True):
            each = [model[number] for model in alone]
            if isinstance(part, StackedSparse):
                part.values.copy_(part.from_canonical(torch.cat([one.to_canonical(one.values) for one in each])))
            else:
                part.weight.copy_(torch.cat([one.weight for one in each]))
            part.bias.copy_(torch.cat([one.bias for one in each]))
    optimizer = torch.optim.Adam([one for part in parts for one in part.parameters()], lr=1e-2)
    layers = [(parts[0], True), (parts[1], True), (parts[2], False)]
    fused = FusedSteps(layers, optimizer, inputs, labels, networks, shared=shared)
    singles = [
        FusedSteps(
            [(model[0], True), (model[2], True), (model[4], False)],
            torch.optim.Adam(model.parameters(), lr=1e-2),
            inputs,
            labels,
        )
        for model in alone
    ]
    for index in batches(generator, 1 if shared else networks):
        with fused.steps():
            losses = fused(index)
        for number, single in enumerate(singles):
            with single.steps():
                assert torch.equal(single(index if shared else index[:, number])[0], losses[number])
    for number, model in enumerate(alone):
        for part, place in zip(parts[:2], (0, 2), strict=True):
            own = part.to_canonical(part.values).view(networks, -1)[number]
            assert torch.equal(own, model[place].to_canonical(model[place].values))
        assert torch.equal(parts[2].weight.view(networks, CLASSES, 16)[number], model[4].weight)


@pytest.mark.parametrize(("networks", "threads"), [(1, 1), (1, 3), (3, 1)])
def test_bytes_give_the_bits_of_the_numbers_that_they_stand_for(networks, threads, torch_threads):
    torch_threads(threads)
    generator = torch.Generator().manual_seed(6)
    images = torch.randint(256, (SAMPLES, 5, 9), generator=generator, dtype=torch.uint8)
    _, labels = data(torch.float32, generator)
    mean, deviation = images.double().mean().item(), images.double().std().item()
    numbers = (images.float() - mean) * (1 / deviation)
    every, found = list(batches(generator, networks)), []
    for inputs in (numbers, images):
        torch.manual_seed(7)
        layer = StackedSparse(NET.layer(0), networks, shared=False, kernel="native", device="cpu")
        nn.init.normal_(layer.values)
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
        about = {"networks": networks, "shared": networks == 1, "scale": (mean, 1 / deviation)}
        with FusedSteps([(layer, False)], optimizer, inputs, labels, **about).steps() as steps:
            found.append([torch.stack([steps(index) for index in every]), layer.values, layer.bias])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
    with pytest.raises(NotImplementedError):
        FusedSteps([(layer, False)], optimizer, images, labels, networks)


def test_a_trainer_feeds_bytes(digits):
    trainer = trainer_of(digits)
    assert trainer.feed.images.dtype == torch.uint8
    fused, index = fused_steps(trainer), torch.arange(0, 1437, 7)
    images, labels = trainer.feed.batch(index)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(trainer.model(images), labels)
    with fused.steps():
        assert fused(index).item() == pytest.approx(loss.item(), rel=1e-6)


def test_all_numbers_of_threads_give_the_same_bits(torch_threads):
    found = []
    for threads in (1, 2, 5):
        torch_threads(threads)
        generator = torch.Generator().manual_seed(3)
        inputs, labels = data(torch.float32, generator)
        model = network(torch.float32)
        layers = [(model[0], True), (model[2], True), (model[4], True)]
        fused = FusedSteps(layers, torch.optim.Adam(model.parameters()), inputs, labels)
        with fused.steps():
            losses = [fused(index) for index in batches(generator)]
        found.append([torch.cat(losses), *model.parameters()])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_a_nan_in_a_sample_shows_in_the_loss():
    inputs, labels = data(torch.float32, torch.Generator().manual_seed(4))
    inputs[3, 7] = float("nan")
    model = network(torch.float32)
    layers = [(model[0], True), (model[2], True), (model[4], False)]
    fused = FusedSteps(layers, torch.optim.SGD(model.parameters()), inputs, labels)
    with fused.steps():
        assert torch.isnan(fused(torch.arange(5))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda case: case.update(labels=case["labels"] + 1), "labels without an output"),
        (lambda case: case.update(labels=case["labels"].int()), "the type of the labels"),
        (lambda case: case.update(inputs=case["inputs"][:, 1:]), "the layout of the inputs"),
        (lambda case: case.update(inputs=case["inputs"].double()), "frozen parameters or other types"),
        (lambda case: case["model"][0].values.requires_grad_(False), "frozen parameters or other types"),
        (lambda case: case.update(optimizer=torch.optim.RMSprop(case["model"].parameters())), "optimizer RMSprop"),
        (lambda case: case["optimizer"].param_groups[0].update(amsgrad=True), "settings of the optimizer"),
        (lambda case: case.update(optimizer=torch.optim.Adam(case["model"][0].parameters())), "outside the layers"),
        (lambda case: case["model"].__setitem__(2, sparse("csr")), "kernel csr"),
    ],
)
def test_what_the_library_does_not_compute_is_refused(change, message):
    inputs, labels = data(torch.float32, torch.Generator().manual_seed(5))
    case = {"model": network(torch.float32), "inputs": inputs, "labels": labels}
    case["optimizer"] = torch.optim.Adam(case["model"].parameters())
    change(case)
    model = case["model"]
    layers = [(model[0], True), (model[2], True), (model[4], False)]
    with pytest.raises(NotImplementedError, match=message):
        FusedSteps(layers, case["optimizer"], case["inputs"], case["labels"])


def sparse(kernel):
    return SparseLinear(Topology([NET.layer(1)]).layer(0), kernel=kernel)


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def trainer_of(digits, seeds=(0,), callbacks=(), **settings):
    net = topokit.topology("radix-net radices=10,10 kron=8,3,1 crop=784,300,100")
    about = {"device": torch.device("cpu"), "kernel": "native", "seeds": seeds, "callbacks": callbacks}
    return Trainer(TrainConfig(dataset="digits", epochs=4, **settings), [net], digits, **about)


class Reads(Callback):
    """A callback that looks at the gradients after each step."""

    def __init__(self):
        self.seen = 0

    def after_step(self, trainer):
        self.seen += all(one.grad is not None for one in trainer.parameters)


@pytest.mark.parametrize(
    ("seeds", "settings"),
    [
        ((0,), {}),
        ((0,), {"optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "l2": 1e-3}),
        ((0,), {"optimizer": "adamw", "relu_logits": True, "shuffle": False}),
        ((0, 1), {}),
        ((0, 1), {"order_seed": 3}),
    ],
)
def test_a_trainer_does_the_same_with_and_without_fused_steps(digits, seeds, settings, monkeypatch):
    found = {}
    for ways in ("ff", "uu", "fu", "uf"):  # fused and unfused epochs, which continue each other
        trainer, losses = trainer_of(digits, seeds, **settings), []
        for way in ways:
            monkeypatch.setattr(Trainer, "needs_gradients", way == "u")
            losses += [one.train_loss for one in trainer.run_epoch()]
        found[ways] = losses
    for losses in found.values():
        assert losses == pytest.approx(found["uu"], rel=1e-3)


def test_a_callback_that_reads_gradients_gets_them(digits, caplog):
    reads = Reads()
    trainer = trainer_of(digits, callbacks=[reads])
    with caplog.at_level("DEBUG", "topokit_train"):
        trainer.run_epoch()
    assert reads.seen == trainer.steps_done > 0
    assert "the steps are not fused: hooks or processes that need gradients" in caplog.text


def test_fused_steps_are_taken_and_leave_no_warning(digits, monkeypatch):
    trainer, calls = trainer_of(digits), []
    monkeypatch.setattr(trainer, "gradients", lambda *_: calls.append(1))
    trainer.run_epoch()
    assert not calls
    assert {float(state["step"]) for state in trainer.optimizer.state.values()} == {trainer.steps_per_epoch}
    assert trainer.scheduler.last_epoch == trainer.steps_per_epoch


class Own(Callback):
    """A callback of a user that changes the trainer after each step, without reading gradients."""

    reads_gradients = False

    def __init__(self, change):
        self.change = change

    def after_step(self, trainer):
        self.change(trainer)


class Tenth(nn.Sequential):
    def forward(self, x):
        return super().forward(x) / 10


class TenthSparse(SparseLinear):
    def forward(self, x):
        return super().forward(x) / 10


class Signs(torch.optim.Adam):
    def step(self, closure=None):
        for group in self.param_groups:
            for one in group["params"]:
                one.grad.sign_()
        return super().step(closure)


class Halves(Callback):
    def gradients(self, trainer):
        for one in trainer.parameters:
            one.grad.mul_(0.5)


def optimizer(kind, **settings):
    def change(trainer):
        trainer.optimizer = kind(trainer.model.parameters(), lr=1e-3, **settings)
        trainer.scheduler = make_scheduler(trainer.config, trainer.optimizer, trainer.steps)

    return change


def set_groups(groups=slice(None), **settings):
    return lambda trainer: [group.update(settings) for group in trainer.optimizer.param_groups[groups]]


def patch_forward(trainer):
    forward = trainer.model.fc1.forward
    trainer.model.fc1.forward = lambda x: forward(x) / 10


def hook_flatten(trainer):
    for part in trainer.model.children():
        if isinstance(part, nn.Flatten):
            part.register_forward_hook(lambda _module, _inputs, output: output / 10)


def step_of_one(trainer):
    for number, one in enumerate(trainer.parameters):
        moments = {"exp_avg": torch.zeros_like(one), "exp_avg_sq": torch.full_like(one, 1e-4)}
        trainer.optimizer.state[one] = {"step": torch.tensor(float(100 * (number % 2))), **moments}


def new_storage(trainer):
    for one in trainer.parameters:
        one.data = one.data.clone()


def turn(trainer):
    if trainer.steps_done == 3:
        turned = trainer.model.fc1.topology_layer().to_dense()[:, ::-1].copy()
        trainer.rewire({"fc1": topokit.Topology.from_dense([turned]).layer(0)})


BEFORE = {
    "a tensor's hook": lambda trainer: trainer.model.fc1.values.register_hook(lambda grad: grad / 2 + 0.01),
    "a hook of Flatten": hook_flatten,
    "a subclass of a layer": lambda trainer: setattr(trainer.model.fc1, "__class__", TenthSparse),
    "a subclass of nn.Sequential": lambda trainer: setattr(trainer.model, "__class__", Tenth),
    "a forward of the user": patch_forward,
    "a subclass of Adam": optimizer(Signs),
    "decoupled weight decay": optimizer(torch.optim.Adam, weight_decay=0.5, decoupled_weight_decay=True),
    "different numbers of steps": step_of_one,
    "the layout of a weight": lambda trainer: setattr(
        trainer.model.fc3.weight, "data", trainer.model.fc3.weight.data.T.contiguous().T
    ),
}
MEANWHILE = {
    "weight decay": set_groups(weight_decay=3.0),
    "eps": set_groups(eps=1.0),
    "the rate of one group": set_groups(slice(1), lr=0.0),
    "new storage": new_storage,
    "the optimizer's state": lambda trainer: trainer.optimizer.load_state_dict(
        deepcopy(trainer.optimizer.state_dict())
    ),
    "no state": lambda trainer: trainer.optimizer.state.clear(),
    "edges": turn,
    "another callback": lambda trainer: trainer.add(Halves()) if trainer.steps_done == 3 else None,
    "shared memory": lambda trainer: trainer.model.share_memory(),
}


@pytest.mark.parametrize("name", [*BEFORE, *MEANWHILE])
def test_what_a_user_changes_counts_in_fused_steps_too(digits, name, monkeypatch):
    found = []
    for fused in (True, False):
        with monkeypatch.context() as patch:
            if not fused:
                patch.setattr(Trainer, "needs_gradients", property(lambda _: True))
            callbacks = [Own(MEANWHILE[name])] if name in MEANWHILE else []
            trainer = trainer_of(digits, callbacks=callbacks, batch_size=300, l2=1e-3)
            BEFORE.get(name, lambda _: None)(trainer)
            found.append([entry.train_loss for _ in range(2) for entry in trainer.run_epoch()])
    assert found[0] == pytest.approx(found[1], rel=2e-3)


def test_a_callback_sees_the_optimizers_steps_and_can_step_by_itself(digits):
    seen = []
    look = Own(lambda trainer: seen.append({float(state["step"]) for state in trainer.optimizer.state.values()}))
    trainer = trainer_of(digits, callbacks=[look], batch_size=300)
    trainer.run_epoch()
    assert seen == [{1.0}, {2.0}, {3.0}, {4.0}, {5.0}]
    assert trainer.step(*next(trainer.batches())).isfinite().all()


@pytest.mark.parametrize("index", [[0, 10**10], [0, -1], [1437]])
def test_steps_are_of_samples_that_exist(digits, index):
    fused = fused_steps(trainer_of(digits))
    with pytest.raises(InvalidSpecError, match="inside steps"):
        fused(torch.tensor([0]))
    with fused.steps(), torch.device("meta"), pytest.raises(InvalidSpecError, match="samples from 0 to 1436"):
        fused(torch.tensor(index, device="cpu"))
    with fused.steps(), torch.device("meta"):
        assert fused(torch.tensor([5, 7], device="cpu")).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"kernel": "csr"}, "kernel csr"), ({"hook": True}, "hooks of a layer"), ({"frozen": True}, "frozen")],
)
def test_other_trainers_take_torchs_steps(digits, settings, reason, caplog):
    trainer = trainer_of(digits)
    if "kernel" in settings:
        trainer.model.fc1 = SparseLinear(trainer.model.fc1.topology_layer(), kernel="csr")
    if "hook" in settings:
        trainer.model.fc1.register_forward_hook(lambda *_: None)
    if "frozen" in settings:
        trainer.model.fc3.bias.requires_grad_(False)
    with caplog.at_level("DEBUG", "topokit_train"):
        trainer.run_epoch()
    assert reason in caplog.text
