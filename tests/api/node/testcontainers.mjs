// testcontainers for Node against the engine that DOCKER_HOST names, without its reaper (an image from a registry).
import assert from "node:assert/strict";
import { GenericContainer, Network, Wait } from "testcontainers";

const network = await new Network().start();
const container = await new GenericContainer("busybox:latest")
  .withCommand(["sh", "-c", "echo page > /index.html; echo ready; exec httpd -f -p 8000"])
  .withExposedPorts(8000)
  .withNetwork(network)
  .withNetworkAliases("web")
  .withEnvironment({ A: "b" })
  .withCopyContentToContainer([{ content: "copied", target: "/copied" }])
  .withWaitStrategy(Wait.forLogMessage("ready"))
  .start();
const answer = await fetch(`http://${container.getHost()}:${container.getMappedPort(8000)}/`);
assert.equal(await answer.text(), "page\n");
const done = await container.exec(["sh", "-c", "echo $A; cat /copied; ping -c 1 web > /dev/null && echo found"]);
assert.equal(done.exitCode, 0);
assert.equal(done.output, "b\ncopiedfound\n");
await container.restart({ timeout: 0 });
await container.stop();
await network.stop();
console.log("testcontainers: done");
