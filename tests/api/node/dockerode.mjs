// dockerode against the engine that DOCKER_HOST names: a container's life, its streams, and what it lists.
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import Docker from "dockerode";

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });

async function textOf(stream) {
  const out = new PassThrough();
  const parts = [];
  out.on("data", (part) => parts.push(part));
  docker.modem.demuxStream(stream, out, out);
  await new Promise((resolve) => stream.on("end", resolve));
  return Buffer.concat(parts).toString();
}

const said = new PassThrough();
const pieces = [];
said.on("data", (part) => pieces.push(part));
const [ended, made] = await docker.run("busybox", ["sh", "-c", "echo from node; exit 3"], said, { Tty: true });
assert.equal(ended.StatusCode, 3);
assert.match(Buffer.concat(pieces).toString(), /from node/);
await made.remove();

const container = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"], Labels: { node: "1" } });
await container.start();
const exec = await container.exec({ Cmd: ["cat"], AttachStdin: true, AttachStdout: true, AttachStderr: true });
const stream = await exec.start({ hijack: true, stdin: true });
const text = textOf(stream);
stream.end("through exec\n");
assert.equal(await text, "through exec\n");
assert.equal((await exec.inspect()).ExitCode, 0);
const listed = await docker.listContainers({ filters: { label: ["node=1"] } });
assert.deepEqual(listed.map((each) => each.Id), [container.id]);
const stats = await container.stats({ stream: false });
assert.ok(stats.memory_stats.usage > 0);
await container.remove({ force: true });
await assert.rejects(container.inspect(), (error) => error.statusCode === 404);
console.log("dockerode: done");
