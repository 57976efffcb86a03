// What every foreign client does: list the tools, write a task, read it back.
import { randomUUID } from "node:crypto";

export async function story(name, client) {
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  for (const needed of ["todo_create", "todo_list"]) {
    if (!names.includes(needed)) throw new Error(`${name}: \`${needed}\` is not listed, only ${names}`);
  }
  const call = async (tool, args) => {
    const result = await client.callTool({ name: tool, arguments: args });
    if (result.isError) throw new Error(`${name}: ${tool} failed: ${JSON.stringify(result.content)}`);
    return result.structuredContent;
  };
  const title = `written by ${name} ${randomUUID()}`;
  await call("todo_create", { title });
  const listed = JSON.stringify(await call("todo_list", { limit: 100 }));
  if (!listed.includes(title)) throw new Error(`${name}: the task just written is not in the list: ${listed.slice(0, 2000)}`);
  console.log(`${name}: ${names.length} tools, wrote and read a task`);
}
