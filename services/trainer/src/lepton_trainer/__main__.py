"""The trainer as a process: reads the settings, wires everything, serves."""

from lepton.dataset.v1.dataset_pb2_grpc import DatasetServiceStub
from lepton.model.v1.model_pb2_grpc import ModelServiceStub
from lepton.training.v1 import study_pb2, training_pb2
from lepton.training.v1.study_pb2_grpc import add_StudyServiceServicer_to_server
from lepton.training.v1.training_pb2_grpc import add_TrainingServiceServicer_to_server
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.rpc import connect
from lepton_common.server import Service, main, serve
from lepton_trainer.adapters.datasets import Datasets
from lepton_trainer.adapters.kind import WORKER, TrainingKind
from lepton_trainer.adapters.ledger import Ledger
from lepton_trainer.adapters.models import Models
from lepton_trainer.adapters.search import StudySearch
from lepton_trainer.adapters.study_controller import StudyController
from lepton_trainer.adapters.workplace import KubernetesCluster, Machine, Workplace
from lepton_trainer.api import StudyServicer, TrainingServicer
from lepton_trainer.settings import Settings


async def run(*, worker: str = WORKER) -> None:
    """Serve until told to stop; `worker` is the module that trains."""
    settings = Settings()
    store = await ResourceStore.open(settings.database_url)
    objects = ObjectStore(settings.object_store_url)
    workplace = await _workplace(settings, objects)
    data_ingest = connect(settings.data_ingest_address, settings=settings)
    registry = connect(settings.registry_address, settings=settings)
    jobs = store.collection(training_pb2.TrainingJob, index=life.index)
    studies = store.collection(study_pb2.Study, index=life.index)
    ledger = Ledger(store, jobs, store.collection(training_pb2.PrivacySpending))
    datasets = Datasets(DatasetServiceStub(data_ingest))
    models = ModelServiceStub(registry)
    controller = Controller(
        TrainingKind(
            jobs,
            objects,
            datasets=datasets,
            models=models,
            worker=worker,
            input_memory_bytes=settings.input_memory_bytes,
        ),
        workplace.launcher,
        objects,
        object_store_url=settings.worker_object_store_url or settings.object_store_url,
        max_attempts=settings.max_attempts,
        max_running=settings.most_running,
    )
    search = StudySearch(
        store,
        studies,
        jobs,
        objects=objects,
        datasets=datasets,
        models=models,
        ledger=ledger,
        most_workers=workplace.most_workers,
    )
    study_controller = StudyController(search, studies, jobs, controller=controller)
    training = Service(
        descriptor=training_pb2.DESCRIPTOR.services_by_name["TrainingService"],
        add=add_TrainingServiceServicer_to_server,
        servicer=TrainingServicer(
            jobs,
            datasets,
            Models(models),
            controller=controller,
            launcher=workplace.launcher,
            objects=objects,
            studies=studies,
            ledger=ledger,
            most_workers=workplace.most_workers,
        ),
    )
    searching = Service(
        descriptor=study_pb2.DESCRIPTOR.services_by_name["StudyService"],
        add=add_StudyServiceServicer_to_server,
        servicer=StudyServicer(
            studies,
            jobs,
            datasets,
            Models(models),
            controller=study_controller,
            launcher=workplace.launcher,
            objects=objects,
            ledger=ledger,
            most_workers=workplace.most_workers,
        ),
    )
    tasks = workplace.tasks(
        [controller.run, study_controller.run],
        jobs=jobs,
        datasets=datasets,
        models=Models(models),
        controller=controller,
        ledger=ledger,
    )
    await serve(
        settings,
        [training, searching],
        tasks=tasks,
        on_stop=[data_ingest.close, registry.close, workplace.close, store.close],
    )


async def _workplace(settings: Settings, objects: ObjectStore) -> Workplace:
    if settings.job_template is not None:
        return await KubernetesCluster.open(
            settings.job_template, objects, namespace=settings.namespace, replica=settings.replica
        )
    assert settings.run_directory is not None, "the settings see to it"
    return Machine(settings.run_directory)


if __name__ == "__main__":
    main(run)
