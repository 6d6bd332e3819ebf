"""The folder that MLflow keeps of a model: its checkpoint, signature, example and requirements."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types.schema import (
    AnyType,
    ColSpec,
    DataType,
    Object,
    ParamSchema,
    ParamSpec,
    Property,
    Schema,
)

from mmts.checkpoint import CheckpointInfo
from mmts.forecasting import Forecaster
from mmts.serving.example import make_example
from mmts.serving.pyfunc import CHECKPOINT, STREAMS

_CODE = Path(__file__).with_name("model_code.py")
_EXTRAS = {"wordllama": "wordllama", "sentence_transformer": "sentence-transformers"}
_NEEDED = ("torch", "numpy", "pandas", "pydantic", "safetensors", "mlflow")


def save_package(folder: Path, checkpoint: Path, forecaster: Forecaster) -> Model:
    """Write the folder of a model, which must not exist; returns what MLflow says of it.

    checkpoint: the file that the forecaster was read from, of which a copy goes in. Nothing is
    pickled: to load the model MLflow runs a file of four lines, which reads the checkpoint.
    """
    described = Model()
    example = make_example(forecaster.info)
    with warnings.catch_warnings():
        # That there is no example was said in our own words.
        warnings.filterwarnings("ignore", message=".*input example was not provided")
        save_model(
            folder,
            python_model=_CODE,
            artifacts={CHECKPOINT: str(checkpoint)},
            signature=make_signature(forecaster),
            input_example=None if example is None else {STREAMS: example},
            pip_requirements=list_requirements(forecaster.info),
            mlflow_model=described,
        )
    # MLflow writes where the file lay on this machine, and looks at its name alone.
    described.flavors["python_function"]["model_code_path"] = _CODE.name
    described.save(str(folder / "MLmodel"))
    return described


def make_signature(forecaster: Forecaster) -> ModelSignature:
    """Return what the model takes and gives, in MLflow's words.

    One input, `streams`, an object of one property per stream. What a stream may be is not told
    by type, for two reasons: MLflow would refuse data frames, and whole numbers where a column
    was declared double. It checks which streams are there; what is in them, mmts itself.
    """
    schema = forecaster.info.data_schema
    anything = AnyType()  # type: ignore[no-untyped-call]  # MLflow types it only in part
    streams = [
        Property(name, anything, required=name == schema.target_stream)
        for name, stream in schema.streams.items()
        if stream.calendar is None
    ]
    columns = {
        "item_id": DataType.string,
        "origin": DataType.string,
        "timestamp": DataType.string,
        "step": DataType.long,
        "target": DataType.string,
        **dict.fromkeys(forecaster.model.outputs, DataType.double),
    }
    return ModelSignature(
        inputs=Schema([ColSpec(Object(streams), STREAMS)]),
        outputs=Schema([ColSpec(kind, name) for name, kind in columns.items()]),
        params=ParamSchema(
            [
                ParamSpec("origin", DataType.string, None),
                ParamSpec("until", DataType.string, None),
                ParamSpec("calibrated", DataType.boolean, True),
            ]
        ),
    )


def list_requirements(info: CheckpointInfo) -> list[str]:
    """Return what pip needs to install so that the model can be loaded, with exact versions."""
    kinds = {
        stream.text_features.kind for stream in info.config.data.streams.values() if stream.text
    }
    extras = ",".join(sorted(_EXTRAS[kind] for kind in kinds if kind in _EXTRAS))
    own = {kind.package: kind.version for kind in info.own_kinds if kind.package is not None}
    return [
        f"mmts{f'[{extras}]' if extras else ''}=={version('mmts')}",
        # A build for one kind of machine, as 2.13.0+cpu, would not do on another.
        *(f"{name}=={version(name).partition('+')[0]}" for name in _NEEDED),
        *(f"{name}=={of}" for name, of in own.items()),
    ]
