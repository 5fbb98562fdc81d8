"""The trainer as a process: reads the settings, wires everything, serves."""

from lepton.dataset.v1.dataset_pb2_grpc import DatasetServiceStub
from lepton.model.v1.model_pb2_grpc import ModelServiceStub
from lepton.training.v1 import study_pb2, training_pb2
from lepton.training.v1.study_pb2_grpc import add_StudyServiceServicer_to_server
from lepton.training.v1.training_pb2_grpc import add_TrainingServiceServicer_to_server
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.workplace import open_workplace
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.rpc import connect
from lepton_common.server import Service, main, serve
from lepton_trainer.adapters.acceptance import Acceptance
from lepton_trainer.adapters.adoption import JOB_LABEL, Adoption
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.kind import WORKER, TrainingKind
from lepton_trainer.adapters.ledger import Ledger
from lepton_trainer.adapters.models import Models
from lepton_trainer.adapters.search import StudySearch
from lepton_trainer.adapters.study_controller import StudyController
from lepton_trainer.api import StudyServicer, TrainingServicer
from lepton_trainer.settings import Settings


async def run(*, worker: str = WORKER) -> None:
    """Serve until told to stop; `worker` is the module that trains."""
    settings = Settings()
    store = await ResourceStore.open(settings.database_url)
    objects = ObjectStore(settings.object_store_url)
    workplace = await open_workplace(settings, objects, label=JOB_LABEL, lease="lepton-trainer")
    data_ingest = connect(settings.data_ingest_address, settings=settings)
    registry = connect(settings.registry_address, settings=settings)
    jobs = store.collection(training_pb2.TrainingJob, index=life.index)
    studies = store.collection(study_pb2.Study, index=life.index)
    ledger = Ledger(store, jobs, store.collection(training_pb2.PrivacySpending))
    acceptance = Acceptance(
        datasets=Datasets(DatasetServiceStub(data_ingest)),
        models=Models(ModelServiceStub(registry)),
        most_workers=settings.most_workers,
    )
    controller = Controller(
        TrainingKind(
            jobs,
            objects,
            datasets=acceptance.datasets,
            models=acceptance.models,
            worker=worker,
            input_memory_bytes=settings.input_memory_bytes,
        ),
        workplace.launcher,
        objects,
        object_store_url=settings.object_store_of_workers,
        max_attempts=settings.max_attempts,
        max_running=settings.most_running,
    )
    search = StudySearch(store, studies, jobs, objects=objects, acceptance=acceptance, ledger=ledger)
    study_controller = StudyController(search, studies, jobs, controller=controller)
    adoption = Adoption(
        jobs, acceptance, controller=controller, workplace=workplace, objects=objects, ledger=ledger
    )
    training = Service(
        descriptor=training_pb2.DESCRIPTOR.services_by_name["TrainingService"],
        add=add_TrainingServiceServicer_to_server,
        servicer=TrainingServicer(
            jobs,
            acceptance,
            controller=controller,
            launcher=workplace.launcher,
            objects=objects,
            studies=studies,
            ledger=ledger,
        ),
    )
    searching = Service(
        descriptor=study_pb2.DESCRIPTOR.services_by_name["StudyService"],
        add=add_StudyServiceServicer_to_server,
        servicer=StudyServicer(
            studies,
            jobs,
            acceptance,
            controller=study_controller,
            launcher=workplace.launcher,
            objects=objects,
            ledger=ledger,
        ),
    )
    await serve(
        settings,
        [training, searching],
        tasks=workplace.tasks([adoption.run, controller.run, study_controller.run]),
        on_stop=[data_ingest.close, registry.close, workplace.close, store.close],
    )


if __name__ == "__main__":
    main(run)
