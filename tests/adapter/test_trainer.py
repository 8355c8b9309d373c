"""The parts of the trainer mixin that need no Ray."""

from omegaconf import OmegaConf

from recap_verl.verl_adapter import trainer
from recap_verl.verl_adapter.layering import recap_trainer_class


def config(**recap):
    return OmegaConf.create(
        {
            "trainer": {"v1": {"trainer_mode": "sync"}, "project_name": "project", "experiment_name": "run"},
            "recap": {"trainer_class": None, **recap},
        }
    )


def test_an_interrupted_runs_metrics_are_kept_beside_the_new_ones(tmp_path):
    path = tmp_path / "metrics.jsonl"
    trainer._keep(path)  # nothing there yet
    for content in ("first\n", "second\n"):
        path.write_text(content)
        trainer._keep(path)
        assert not path.exists()
    path.write_text("")
    trainer._keep(path)
    kept = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert kept == {"metrics.1.jsonl": "first\n", "metrics.2.jsonl": "second\n", "metrics.jsonl": ""}


def test_the_metrics_file_is_the_one_that_verl_opens(tmp_path, monkeypatch):
    from verl.utils.tracking import FileLogger

    monkeypatch.delenv("VERL_FILE_LOGGER_PATH", raising=False)
    monkeypatch.setenv("VERL_FILE_LOGGER_ROOT", str(tmp_path))
    FileLogger("project", "run").finish()
    assert trainer._metrics_file(config()).exists()
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "elsewhere.jsonl"))
    FileLogger("project", "run").finish()
    assert trainer._metrics_file(config()) == tmp_path / "elsewhere.jsonl"


def test_the_mixin_is_layered_over_verls_trainer_or_the_users(monkeypatch):
    from verl.trainer.ppo.v1 import PPOTrainerSeparateAsync, PPOTrainerSync

    layered = recap_trainer_class(config())
    assert layered.__bases__ == (trainer.RecapTrainerMixin, PPOTrainerSync)

    class Theirs(PPOTrainerSeparateAsync):
        pass

    class Mine(trainer.RecapTrainerMixin, Theirs):
        pass

    monkeypatch.setattr("recap_verl.verl_adapter.layering.load_trainer_class", lambda _: Theirs)
    assert recap_trainer_class(config()).__bases__ == (trainer.RecapTrainerMixin, Theirs)
    monkeypatch.setattr("recap_verl.verl_adapter.layering.load_trainer_class", lambda _: Mine)
    assert recap_trainer_class(config()) is Mine


def test_retention_needs_the_main_score_of_the_very_data_source():
    metrics = {
        "val-core/toy/a2/acc/mean@4": 0.5,
        "val-core/toy/a/acc/best@4/mean": 0.9,
        "val-core/toy/a/acc/mean@4": 0.2,
    }
    assert trainer._score_name(metrics, "toy/a") == "val-core/toy/a/acc/mean@4"
    assert trainer._score_name(metrics, "toy/b") is None
