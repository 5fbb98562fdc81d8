"""A whole pipeline from one file: data, training, compression, endpoint, agent.

A pipeline is a client. Every stage is asked for under a request id that is derived from the pipeline's
name and the stage's content, so a pipeline that was killed is simply run again: what is done is found,
what is under way is followed, and only the rest is started.

    name: digits
    dataset:
      sources: [{path: digits.npz}]         # with the fields of lepton.dataset.v1.Source
      spec: {schema: {label: label}}        # lepton.dataset.v1.DatasetVersionSpec
    train: {cnn: {}, maxEpochs: 20}         # lepton.training.v1.TrainingSpec
    search:                                 # instead of `train`: lepton.training.v1.StudySpec
      training: {cnn: {}}
      parameters: [{path: optimizer.learning_rate, real: {min: 0.0001, max: 0.1, log: true}}]
    compress: {maxAccuracyDrop: 0.005}      # lepton.compression.v1.CompressionSpec
    endpoint: {}                            # id: the pipeline's name
    agent:
      id: cartpole
      spec: {environment: CartPole-v1, dqn: {}}                  # lepton.agent.v1.Agent
      learn: {simulation: {steps: 50000}}                        # lepton.agent.v1.LearningSpec

Every stage is optional; one that is left out ends the chain there.
"""

from lepton_sdk.pipeline.document import STAGES, Pipeline, load, parse
from lepton_sdk.pipeline.execution import Outcome, Watcher, run

__all__ = ["STAGES", "Outcome", "Pipeline", "Watcher", "load", "parse", "run"]
