"""The agent service as a process: reads the settings, wires everything, serves."""

from lepton.agent.v1 import agent_pb2
from lepton.agent.v1.agent_pb2_grpc import add_AgentServiceServicer_to_server
from lepton.model.v1.model_pb2_grpc import ModelServiceStub
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.workplace import open_workplace
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.records.database import Database
from lepton_common.rpc import connect
from lepton_common.server import Service, main, serve
from lepton_rl_agent.adapters.agents import AgentRecords
from lepton_rl_agent.adapters.decision_log import DecisionLog
from lepton_rl_agent.adapters.kind import LearningKind
from lepton_rl_agent.adapters.policies import Policies
from lepton_rl_agent.api import AgentServicer
from lepton_rl_agent.settings import Settings


async def run() -> None:
    """Serve until told to stop."""
    settings = Settings()
    database = await Database.open(settings.database_url)
    store, decisions = ResourceStore(database), await DecisionLog.open(database)
    objects = ObjectStore(settings.object_store_url)
    workplace = await open_workplace(
        settings, objects, label="lepton.dev/learning-run", lease="lepton-rl-agent"
    )
    launcher = workplace.launcher
    registry = connect(settings.registry_address, settings=settings)
    models = ModelServiceStub(registry)
    records = AgentRecords(
        store, decisions, policies=Policies(models, objects), launcher=launcher, objects=objects
    )
    controller = Controller(
        LearningKind(records.runs, objects, agents=records.agents, decisions=decisions, models=models),
        launcher,
        objects,
        object_store_url=settings.object_store_of_workers,
        max_attempts=settings.max_attempts,
        max_running=settings.most_running,
    )
    service = Service(
        descriptor=agent_pb2.DESCRIPTOR.services_by_name["AgentService"],
        add=add_AgentServiceServicer_to_server,
        servicer=AgentServicer(records, decisions, controller=controller, launcher=launcher, objects=objects),
    )
    await serve(
        settings,
        [service],
        # Each replica acts, and so must hear of changes.
        tasks=[*workplace.tasks([controller.run]), records.follow_changes],
        on_stop=[registry.close, decisions.close, workplace.close, store.close],
    )


if __name__ == "__main__":
    main(run)
