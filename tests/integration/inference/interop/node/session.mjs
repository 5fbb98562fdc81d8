// A session with an ordinary gRPC client of Node: list, load, describe, infer, stream. Prints JSON.
//
//     node session.mjs PROTOS ADDRESS ENDPOINT
//
// The endpoint multiplies FP32 `x` [batch, 2] into `y`.
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [protos, address, endpoint] = process.argv.slice(2);
const definition = await loader.load("inference/grpc_service.proto", {
  includeDirs: [protos],
  keepCase: true,
  longs: Number,
});
const { inference } = grpc.loadPackageDefinition(definition);
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const call = (method, request) => promisify(client[method].bind(client))(request);

const raw = Buffer.from(new Float32Array([1, 2, 3, 4]).buffer);
const request = {
  model_name: endpoint,
  inputs: [{ name: "x", datatype: "FP32", shape: [2, 2] }],
  raw_input_contents: [raw],
};
const floats = (response) => {
  const bytes = response.raw_output_contents[0];
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index));
};

const seen = {
  ready: (await call("ServerReady", {})).ready,
  index: (await call("RepositoryIndex", {})).models,
};
await call("RepositoryModelLoad", { model_name: endpoint });
seen.model_ready = (await call("ModelReady", { name: endpoint })).ready;
seen.metadata = await call("ModelMetadata", { name: endpoint });
seen.y = floats(await call("ModelInfer", request));
seen.error = await call("ModelInfer", { ...request, model_name: "nothing" }).catch((error) => error.code);

seen.stream = await new Promise((resolve, reject) => {
  const answers = [];
  const stream = client.ModelStreamInfer();
  stream.on("data", (answer) => answers.push(answer.error_message || answer.infer_response.id));
  stream.on("error", reject);
  stream.on("end", () => resolve(answers));
  for (let id = 0; id < 5; id++) stream.write({ ...request, id: String(id) });
  stream.end();
});

console.log(JSON.stringify(seen));
client.close();
