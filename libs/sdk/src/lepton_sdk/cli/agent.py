"""`lepton agent`: let agents act and learn."""

import uuid

import click

from lepton.agent.v1 import agent_pb2
from lepton_sdk.cli.arguments import NEGATIVE_NUMBERS, full_name, read_json, read_message
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import follow
from lepton_sdk.cli.session import connected
from lepton_sdk.client import Client
from lepton_sdk.jobs import state_name


@click.group()
def command() -> None:
    """Let agents act and learn."""


@command.command()
@click.argument("agent")
@click.option(
    "--environment",
    default="",
    help="Gymnasium environment that it lives in, such as CartPole-v1.",
)
@click.option(
    "--algorithm",
    type=click.Choice(["dqn", "q_learning"]),
    help="How it learns, where --spec is silent.",
)
@click.option("--spec", default="", help="Agent as JSON, or @FILE of JSON or YAML.")
@connected
async def create(
    client: Client,
    output: Output,
    agent: str,
    environment: str,
    algorithm: str | None,
    spec: str,
) -> None:
    """Make AGENT."""
    content = read_message(spec, agent_pb2.Agent(), "--spec")
    content.environment = environment or content.environment
    if algorithm:
        getattr(content, algorithm).SetInParent()
    elif content.WhichOneof("algorithm") is None:
        raise click.UsageError("say how it learns: --algorithm, or an algorithm in --spec")
    made = await client.agents.create(agent.removeprefix("agents/"), content)
    output.done(f"made {made.name}", {"name": made.name})


@command.command("list")
@connected
async def list_(client: Client, output: Output) -> None:
    """List agents."""
    output.resources(
        await client.agents.list(),
        {
            "NAME": lambda each: each.name,
            "ENVIRONMENT": lambda each: each.environment,
            "ALGORITHM": lambda each: each.WhichOneof("algorithm"),
            "POLICY": lambda each: each.policy or "even draw",
        },
    )


@command.command()
@click.argument("agent")
@connected
async def show(client: Client, output: Output, agent: str) -> None:
    """Show AGENT."""
    output.resource(await client.agents.get(full_name("agents", agent)))


@command.command()
@click.argument("agent")
@connected
async def delete(client: Client, output: Output, agent: str) -> None:
    """Delete AGENT with its decisions and learning runs.

    Its policies stay as models.
    """
    name = full_name("agents", agent)
    await client.agents.delete(name)
    output.done(f"deleted {name}", {"deleted": name})


@command.command()
@click.argument("agent")
@click.option("--steps", type=int, default=0, help="Steps in the agent's environment.")
@click.option("--from-feedback", is_flag=True, help="Learn from the stored decisions instead.")
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@click.option("--id", "run_id", default="", help="Id of the run.  [default: made up]")
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
@connected
async def learn(
    client: Client,
    output: Output,
    agent: str,
    steps: int,
    from_feedback: bool,
    seed: int,
    run_id: str,
    detach: bool,
) -> None:
    """Let AGENT learn.

    It learns from its environment (--steps) or from the feedback it was given (--from-feedback).
    """
    if (steps != 0) == from_feedback:
        raise click.UsageError("say what to learn from: either --steps or --from-feedback")
    spec = agent_pb2.LearningSpec(seed=seed)
    if from_feedback:
        spec.logged_feedback.SetInParent()
    else:
        spec.simulation.steps = steps
    run = await client.agents.learn(full_name("agents", agent), run_id or f"run-{uuid.uuid4().hex[:8]}", spec)
    if detach:
        output.done(run.name, {"name": run.name})
        return
    ended = await follow(output, "learn", run.name, updates=client.agents.watch_run(run.name))
    output.resource(ended, lambda: click.echo(_summary(ended)))


def _summary(run: agent_pb2.LearningRun) -> str:
    reward = f"mean reward {run.mean_reward:.4g}, " if run.HasField("mean_reward") else ""
    return f"{run.name}: {reward}policy {run.model_version}"


@command.command()
@click.argument("agent")
@connected
async def runs(client: Client, output: Output, agent: str) -> None:
    """List the learning runs of AGENT, newest first."""
    output.resources(
        await client.agents.runs(full_name("agents", agent)),
        {
            "NAME": lambda each: each.name,
            "STATE": state_name,
            "MEAN REWARD": lambda each: each.mean_reward if each.HasField("mean_reward") else None,
            "POLICY": lambda each: each.model_version,
            "MESSAGE": lambda each: each.status.error.message or each.status.message,
        },
    )


@command.command()
@click.argument("agent")
@click.argument("observation")
@click.option("--episode", default="", help="Ties decisions of one course of events together.")
@connected
async def act(client: Client, output: Output, agent: str, observation: str, episode: str) -> None:
    """Let AGENT choose an action.

    OBSERVATION is a whole number, or numbers as JSON.

    \b
      lepton agent act cartpole "[0.1, 0, 0.02, 0]"
      lepton agent act frozen-lake 0 --episode morning
    """
    seen = read_json(observation, "the observation")
    decision = await client.agents.act(full_name("agents", agent), seen, episode=episode)
    chosen = f"action {decision.action} (probability {decision.probability:.4f}), decision {decision.id}"
    output.resource(decision, lambda: click.echo(chosen))


@command.command(context_settings=NEGATIVE_NUMBERS)
@click.argument("agent")
@click.argument("decision")
@click.argument("reward", type=float)
@click.option("--terminated", is_flag=True, help="The episode ended here by its own rules.")
@click.option("--truncated", is_flag=True, help="The episode was cut off here.")
@click.option("--next-observation", default="", help="What was seen after, as JSON.")
@connected
async def feedback(
    client: Client,
    output: Output,
    agent: str,
    decision: str,
    reward: float,
    terminated: bool,
    truncated: bool,
    next_observation: str,
) -> None:
    """Tell AGENT what REWARD came of DECISION.

    DECISION is the id that `lepton agent act` has printed.
    """
    seen = read_json(next_observation, "--next-observation") if next_observation else None
    told = await client.agents.feedback(
        full_name("agents", agent),
        decision,
        reward,
        terminated=terminated,
        truncated=truncated,
        next_observation=seen,
    )
    output.done(
        f"recorded reward {reward:g} of decision {told.id}",
        {"id": told.id, "reward": reward},
    )
